package demo

import "strings"

// What made-up events are made of. Addresses end in example.com, so that
// nobody ever gets one.
var (
	firstNames = strings.Fields("Ada Alan Barbara Claude Donald Edsger Frances Grace Hedy John Katherine Leslie Margaret Niklaus Radia Tim")
	lastNames  = strings.Fields("Allen Cerf Dijkstra Hamilton Hopper Johnson Knuth Lamarr Lamport Liskov Lovelace McCarthy Perlman Shannon Turing Wirth")
	locales    = strings.Fields("de-DE en-GB en-US es-ES fr-FR ja-JP nl-NL pt-BR")
	currencies = strings.Fields("EUR EUR EUR GBP USD USD CHF")
	brands     = strings.Fields("amex mastercard visa visa")
	plans      = strings.Fields("basic business enterprise starter team")
	campaigns  = strings.Fields("autumn blog conference newsletter partner podcast search spring")
	reasons    = strings.Fields("customer_service low_quality missing_features other switched_service too_complex too_expensive unused")
	streets    = []string{"Bridge Street", "Church Lane", "Main Street", "Market Square", "Mill Road", "Park Avenue", "Station Road", "Victoria Street"}
	agents     = []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
	}
	cities = []address{
		{City: "Amsterdam", Zip: "1012 JS", Country: "NL"},
		{City: "Berlin", Zip: "10115", Country: "DE"},
		{City: "London", Zip: "EC1A 1BB", Country: "GB"},
		{City: "Lyon", Zip: "69001", Country: "FR"},
		{City: "Madrid", Zip: "28013", Country: "ES"},
		{City: "New York", Zip: "10001", Country: "US"},
		{City: "São Paulo", Zip: "01310-100", Country: "BR"},
		{City: "Zürich", Zip: "8001", Country: "CH"},
	}
	products = []item{
		{SKU: "CF-1000", Name: "Coffee beans, 1 kg", Price: 1890},
		{SKU: "CF-0250", Name: "Coffee beans, 250 g", Price: 590},
		{SKU: "GR-0001", Name: "Hand grinder", Price: 7900},
		{SKU: "KT-0003", Name: "Kettle, 0.9 l", Price: 6450},
		{SKU: "FP-0100", Name: "Paper filters, 100", Price: 420},
		{SKU: "MG-0002", Name: "Mug \"hello, world\"", Price: 1250},
		{SKU: "SC-0001", Name: "Scale, 0.1 g", Price: 3995},
		{SKU: "TE-0100", Name: "Green tea <first flush>, 100 g", Price: 1490},
	}
	failures = []failure{
		{Code: "card_declined", Message: "the card was declined"},
		{Code: "expired_card", Message: "the card has expired"},
		{Code: "insufficient_funds", Message: "the account does not have enough on it"},
		{Code: "processing_error", Message: "the bank could not process it"},
	}
	vocabulary = strings.Fields(`a about account after again all and are as at be been before but by can could day did do even
		find first for from get give go good have here how if in invoice it just know like long look make many month more
		most my need new next no not now of on one only or order other our out over people price see service so some take
		team than that the their them then there they thing this time to two up upgrade use very want was we week well were
		what when which who will with work would year you your`)
)
