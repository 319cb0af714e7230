//! Brazil, France, Mexico, Spain, Switzerland.

use fake::locales::{Data, FR_FR, PT_BR};

use super::{FirstNames, PostCode, Tables, Words};

const SPANISH_LAST: &str = "Aguilar|Cabrera|Castillo|Domínguez|Fernández|Gómez|Ibáñez|Lozano|Márquez|Núñez|Ortega|\
    Peña|Quintero|Rodríguez|Salinas|Vázquez|Zúñiga";

pub(super) static TABLES: &[Tables] = &[
    Tables {
        code: "BR",
        country: "Brazil",
        first: FirstNames::Any(Words::Table(PT_BR::NAME_FIRST_NAME)),
        last: Words::Table(PT_BR::NAME_LAST_NAME),
        streets: "Avenida Brasil|Rua Amazonas|Rua da Paz|Rua Dom Pedro Ii|Rua São José|Travessa dos Açudes",
        cities: "Belém|Canoas|Florianópolis|Ji-Paraná|Maceió|Niterói|Petrópolis|Santarém|Uberlândia",
        states: "Amapá|Bahia|Ceará|Distrito Federal|Goiás|Minas Gerais|Rio Grande do Sul|São Paulo",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "(##) ####-####",
        cell: "(##) ####-####",
        id: Some(("CPF", "###.###.###-##")),
        blank_percent: 72,
    },
    Tables {
        code: "CH",
        country: "Switzerland",
        first: FirstNames::Any(Words::Table(FR_FR::NAME_FIRST_NAME)),
        last: Words::Table(FR_FR::NAME_LAST_NAME),
        streets: "Avenue de la Gare|Chemin des Vignes|Place du Marché|Rue de L'Église|Rue Neuve|Route Cantonale",
        cities: "Bellinzona|Carouge (GE)|Delémont|Frauenfeld|La Chaux-de-Fonds|Neuchâtel|Sion|Zürich",
        states: "Bern|Genève|Glarus|Graubünden|Neuchâtel|Uri|Valais|Vaud",
        postcode: PostCode::Number(1000, 9999),
        phone: "07# ### ## ##",
        cell: "07# ### ## ##",
        id: Some(("AVS", "756.####.####.##")),
        blank_percent: 0,
    },
    Tables {
        code: "ES",
        country: "Spain",
        first: FirstNames::ByGender(
            "Alba|Begoña|Carmen|Inés|Lucía|María|Nieves|Pilar|Rocío|Sofía|Ángeles|Íngrid",
            "Adrián|Andrés|Bartolomé|Diego|Gonzalo|Hugo|Iker|Joaquín|Martín|Óscar|Raúl|Íñigo",
        ),
        last: Words::Piped(SPANISH_LAST),
        streets: "Avenida de Castilla|Calle de Alcalá|Calle Mayor|Calle del Arenal|Paseo de Extremadura|Ronda de Toledo",
        cities: "Cádiz|Elche|Jerez de la Frontera|La Coruña|León|Móstoles|Orihuela|Vigo|Ávila",
        states: "Aragón|Canarias|Castilla y León|Extremadura|Melilla|País Vasco|Región de Murcia",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "9##-###-###",
        cell: "6##-###-###",
        id: Some(("DNI", "########-@")),
        blank_percent: 0,
    },
    Tables {
        code: "FR",
        country: "France",
        first: FirstNames::Any(Words::Table(FR_FR::NAME_FIRST_NAME)),
        last: Words::Table(FR_FR::NAME_LAST_NAME),
        streets: "Allée des Tilleuls|Avenue Jean-Jaurès|Boulevard de L'Océan|Place de L'Abbaye|Quai du Rhône|Rue du Bât-d'Argent",
        cities: "Aix-en-Provence|Béziers|Créteil|Le Havre|Nîmes|Orléans|Saint-Étienne|Évreux",
        states: "Ardèche|Corse-du-Sud|Côte-d'Or|Finistère|Hérault|Isère|La Réunion|Vendée",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "0%-##-##-##-##",
        cell: "06-##-##-##-##",
        id: Some(("INSEE", "############# ##")),
        blank_percent: 0,
    },
    Tables {
        code: "MX",
        country: "Mexico",
        first: FirstNames::ByGender(
            "Citlali|Dolores|Fernanda|Guadalupe|Itzel|Jimena|Nayeli|Paola|Rosario|Xóchitl|Yolanda|Ángela",
            "Alonso|Cuauhtémoc|Efraín|Felipe|Gerardo|Homero|Iván|Julián|Octavio|Rubén|Uriel|Ángel",
        ),
        last: Words::Piped(SPANISH_LAST),
        streets: "Avenida Norte Juárez|Boulevard Zaragoza|Calle Niños Héroes|Calzada Morelos|Privada Oaxaca|Pasaje Peñón",
        cities: "Cancún|Ciudad Guzmán|Durango|Mazatlán|Pátzcuaro|San Miguel (El Alto)|Tequila|Xalapa",
        states: "Baja California|Campeche|Guerrero|Nuevo León|Puebla|Querétaro|Yucatán",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "(6##) ### ####",
        cell: "(6##) ### ####",
        id: Some(("NSS", "## ## ## #### #")),
        blank_percent: 0,
    },
];
