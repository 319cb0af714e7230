//! India, Iran, Serbia, Turkey, Ukraine. The API gives Serbian and Ukrainian names in Latin letters.

use fake::locales::{Data, FA_IR, TR_TR};

use super::{FirstNames, PostCode, Tables, Words};

pub(super) static TABLES: &[Tables] = &[
    Tables {
        code: "IN",
        country: "India",
        first: FirstNames::ByGender(
            "Aditi|Bhavna|Divya|Gauri|Ishita|Kavya|Lakshmi|Meera|Nandini|Pooja|Riya|Sunita",
            "Aarav|Bhaskar|Dev|Girish|Ishaan|Karthik|Manoj|Nikhil|Pranav|Rohan|Suresh|Vikram",
        ),
        last: Words::Piped("Banerjee|Chauhan|Das|Gupta|Iyer|Joshi|Kapoor|Menon|Naidu|Patel|Rao|Sharma|Singh|Varma"),
        streets: "Anna Salai|Brigade Rd|Chandni Chowk|Gandhi Maidan Marg|Linking Rd|Marine Drive|Park Street",
        cities: "Agra|Bhopal|Coimbatore|Dehradun|Guntur|Indore|Kochi|Ludhiana|Nashik|Tirunelveli",
        states: "Assam|Bihar|Goa|Gujarat|Kerala|Maharashtra|Odisha|Tamil Nadu|West Bengal",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "7#########",
        cell: "9#########",
        id: Some(("UIDAI", "############")),
        blank_percent: 0,
    },
    Tables {
        code: "IR",
        country: "Iran",
        first: FirstNames::Any(Words::Table(FA_IR::NAME_FIRST_NAME)),
        last: Words::Table(FA_IR::NAME_LAST_NAME),
        streets: "خیابان انقلاب|بلوار کشاورز|میدان آزادی|کوچه‌باغ|شریعتی|ولی‌عصر|حافظ",
        cities: "تهران|شیراز|اصفهان|تبریز|کرمان|رشت|خمینی‌شهر|یزد",
        states: "خراسان رضوی|گیلان|مازندران|چهارمحال و بختیاری|کهگیلویه و بویراحمد|سیستان و بلوچستان",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "0##-########",
        cell: "09##-###-####",
        id: None,
        blank_percent: 0,
    },
    Tables {
        code: "RS",
        country: "Serbia",
        first: FirstNames::ByGender(
            "Anđela|Branka|Dušanka|Gordana|Jelena|Ljiljana|Milica|Snežana|Tijana|Vesna|Živka",
            "Aleksandar|Boško|Čedomir|Đorđe|Goran|Lazar|Miloš|Nemanja|Petar|Saša|Žarko",
        ),
        last: Words::Piped(
            "Đorđević|Ilić|Jovanović|Kovačević|Marković|Nikolić|Pavlović|Petrović|Stanković|Šarić|Živković",
        ),
        streets: "Bulevar oslobođenja|Cara Dušana|Đačka|Kneza Miloša|Njegoševa|Školska|Vojvode Stepe",
        cities: "Bačka Palanka|Čačak|Kragujevac|Leskovac|Niš|Sremska Mitrovica|Šabac|Užice",
        states: "Beograd|Južna Bačka|Mačva|Raška|Šumadija|Zlatibor",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "0##-####-###",
        cell: "06#-####-###",
        id: Some(("SID", "#########")),
        blank_percent: 14,
    },
    Tables {
        code: "TR",
        country: "Turkey",
        first: FirstNames::Any(Words::Table(TR_TR::NAME_FIRST_NAME)),
        last: Words::Table(TR_TR::NAME_LAST_NAME),
        streets: "Atatürk Cd|Bağlar Sk|Cumhuriyet Cd|Fatih Sultan Mehmet Cd|İnönü Cd|Şehitler Cd",
        cities: "Adıyaman|Çanakkale|Diyarbakır|Eskişehir|İzmir|Kırklareli|Muğla|Şanlıurfa",
        states: "Ankara|Balıkesir|Çorum|Giresun|Iğdır|Niğde|Sivas|Uşak",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "(###)-###-####",
        cell: "(###)-###-####",
        id: None,
        blank_percent: 0,
    },
    Tables {
        code: "UA",
        country: "Ukraine",
        first: FirstNames::ByGender(
            "Bogdana|Darina|Halina|Ivanna|Kateryna|Lesya|Miroslava|Oksana|Solomiya|Ulyana|Yaroslava",
            "Andriy|Bogdan|Danilo|Ihor|Kirilo|Mikola|Oleksiy|Ruslan|Taras|Vasil|Yuriy",
        ),
        last: Words::Piped(
            "Bondarenko|Chornovil|Didenko|Franko|Gonchar|Hrushevskiy|Kovalenko|Lisenko|Melnik|Shevchenko|Tkachuk",
        ),
        streets: "Bankova|Hreshchatik|Lisna|Nezalezhnosti|Ploshcha Rinok|Sadova|Shkilna|Zelena",
        cities: "Bila Tserkva|Chernivtsi|Drogobich|Ivano-Frankivsk|Kamyanets-Podilskiy|Lviv|Poltava|Uzhgorod",
        states: "Chernigivska|Dnipropetrovska|Kiyivska|Lvivska|Odeska|Volinska|Zakarpatska",
        postcode: PostCode::Number(10_000, 99_999),
        phone: "(0##) @##-####",
        cell: "(0##) @##-####",
        id: None,
        blank_percent: 0,
    },
];
