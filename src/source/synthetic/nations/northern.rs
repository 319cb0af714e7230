//! Denmark, Finland, Germany, the Netherlands, Norway.

use fake::locales::{DE_DE, Data, NL_NL};

use super::{FirstNames, PostCode, Tables, Words};

pub(super) static TABLES: &[Tables] = &[
    Tables {
        code: "DE",
        country: "Germany",
        first: FirstNames::Any(Words::Table(DE_DE::NAME_FIRST_NAME)),
        last: Words::Table(DE_DE::NAME_LAST_NAME),
        streets: "Ahornweg|Bergstraße|Gartenstraße|Kastanienallee|Lindenstraße|Mühlenweg|Schloßplatz|Waldweg",
        cities: "Bad Tölz|Celle|Eisenhüttenstadt|Görlitz|Husum|Lübben (Spreewald)|Passau|Würzburg|Zwickau",
        states: "Bayern|Brandenburg|Hessen|Niedersachsen|Sachsen|Thüringen",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "0###-#######",
        cell: "017#-#######",
        id: Some(("SVNR", "## ###### @ ###")),
        blank_percent: 0,
    },
    Tables {
        code: "DK",
        country: "Denmark",
        first: FirstNames::ByGender(
            "Agnes|Astrid|Freja|Ida|Karla|Liva|Mathilde|Nanna|Sofie|Tilde|Vigga|Åse",
            "Anton|Christoffer|Elias|Gustav|Jeppe|Malthe|Noah|Oliver|Søren|Tobias|Victor|Øjvind",
        ),
        last: Words::Piped(
            "Andersen|Christensen|Hansen|Jensen|Jørgensen|Kristensen|Larsen|Madsen|Møller|Nielsen|Poulsen|Sørensen|Thomsen",
        ),
        streets: "Birkevej|Engvej|Fyrrevej|Havnegade|Kirkevej|Rågevej|Skolegade|Strandvejen|Æblehaven",
        cities: "Aarhus|Ebeltoft|Frørup|Hjørring|København Ø|Nykøbing F|Ribe|Sønder Stenderup |Viborg",
        states: "Hovedstaden|Midtjylland|Nordjylland|Sjælland|Syddanmark|Danmark",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "########",
        cell: "########",
        id: Some(("CPR", "######-####")),
        blank_percent: 0,
    },
    Tables {
        code: "FI",
        country: "Finland",
        first: FirstNames::ByGender(
            "Aada|Aino|Eevi|Helmi|Iida|Kerttu|Lumi|Minttu|Oona|Pihla|Sofia|Ulla",
            "Aatu|Eeli|Eino|Joona|Lauri|Leevi|Niilo|Oskari|Samu|Topias|Väinö|Onni",
        ),
        last: Words::Piped(
            "Heikkinen|Hämäläinen|Järvinen|Koskinen|Laine|Lehtinen|Mäkinen|Nieminen|Pulkkinen|Räsänen|Saarinen|Virtanen",
        ),
        streets: "Aleksanterinkatu|Hämeenkatu|Itsenäisyydenkatu|Kauppakatu|Pispalan valtatie|Rantatie|Tehtaankatu",
        cities: "Hanko|Iisalmi|Jyväskylä|Kuopio|Närpiö|Oulu|Rovaniemi|Sodankylä|Ylöjärvi",
        states: "Kainuu|Kymenlaakso|Lapland|Northern Karelia|Pirkanmaa|Uusimaa|Åland",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "0#-###-###",
        cell: "04#-###-##-##",
        id: Some(("HETU", "######-###@")),
        blank_percent: 0,
    },
    Tables {
        code: "NL",
        country: "Netherlands",
        first: FirstNames::Any(Words::Table(NL_NL::NAME_FIRST_NAME)),
        last: Words::Table(NL_NL::NAME_LAST_NAME),
        streets: "Beukenlaan|De Ruyterkade|Dorpsstraat|'t Hofje|Kerkweg|Molendijk|Oude Gracht|Wilgenpad",
        cities: "Alkmaar|Den Burg|Gouda|Harlingen|'s-Hertogenbosch|Meppel|Sluis|Zwolle",
        states: "Flevoland|Friesland|Groningen|Limburg|Overijssel|Utrecht|Zeeland",
        postcode: PostCode::Text("#### @@"),
        phone: "(0###) ######",
        cell: "(06) ########",
        id: Some(("BSN", "########")),
        blank_percent: 0,
    },
    Tables {
        code: "NO",
        country: "Norway",
        first: FirstNames::ByGender(
            "Astri|Eira|Guro|Ingrid|Kaja|Live|Maren|Ragnhild|Sigrid|Solveig|Tuva|Åshild",
            "Aksel|Bjørn|Eirik|Håkon|Jonas|Kristian|Magnus|Odd|Sander|Sjur|Torbjørn|Øyvind",
        ),
        last: Words::Piped(
            "Bakken|Dahl|Eide|Fossum|Haugen|Kristiansen|Lien|Moen|Nygård|Rønning|Solberg|Strand|Ødegård",
        ),
        streets: "Bjerkealleen|Dronningens gate|Fjordveien|Gamle Drammensvei|Kirkegata|Skogveien|Østre vei",
        cities: "Alta|Bodø|Førde|Grimstad|Hønefoss|Lillehammer|Mosjøen|Tønsberg|Ålesund",
        states: "Agder|Hedmark|Møre og Romsdal|Oslo|Rogaland|Troms - Romsa|Vestland",
        postcode: PostCode::Text("####"),
        phone: "########",
        cell: "########",
        id: Some(("FN", "###########")),
        blank_percent: 0,
    },
];
