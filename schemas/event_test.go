package schemas_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hooklog/schemas"
)

// The keys are written to disk: a change of them forgets every event.
func TestKeyOfPinned(t *testing.T) {
	for _, tt := range []struct {
		source schemas.SourceName
		id     schemas.EventID
		want   string
	}{
		{"stripe", "evt_1", "d4afb4518b47fd4e2ee51417db017500"},
		{"a", "bc", "1e18834c426d00e57788444cb3ccd62c"},
		{"ab", "c", "909ac45e439911193205994d09399c29"},
		{"", "", "6e340b9cffb37a989ca544e6bb780a2c"},
		{"github", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "340e9e2d59d633ef8bd81bc3e2d52ccc"},
		{"long", schemas.EventID(repeat("x", 512)), "7d335c94b9377fecdb0df1e09bb9fd78"},
	} {
		k := schemas.KeyOf(tt.source, tt.id)
		if got := k.String(); got != tt.want {
			t.Errorf("KeyOf(%q, %q) = %s, want %s", tt.source, short(string(tt.id)), got, tt.want)
		}
	}
	if got, want := schemas.KeyOf("stripe", "evt_1").Hash(), uint64(0x4efd478b51b4afd4); got != want {
		t.Errorf("KeyOf(stripe, evt_1).Hash() = %#x, want %#x", got, want)
	}
}

func TestKeyOfTellsPairsApart(t *testing.T) {
	same := func(s1 schemas.SourceName, i1 schemas.EventID, s2 schemas.SourceName, i2 schemas.EventID) {
		t.Helper()
		if schemas.KeyOf(s1, i1) == schemas.KeyOf(s2, i2) {
			t.Errorf("(%q, %q) and (%q, %q) have the same key", short(string(s1)), short(string(i1)), short(string(s2)), short(string(i2)))
		}
	}
	same("a", "bc", "ab", "c")
	same("", "ab", "a", "b")
	same("a", "", "", "a")
	// 257 is 1 in one byte.
	long := "s" + repeat("x", 256)
	same(schemas.SourceName(long), "1", "s", schemas.EventID(repeat("x", 256)+"1"))

	rapid.Check(t, func(t *rapid.T) {
		text := genText(0, 300).Draw(t, "text")
		i := rapid.IntRange(0, len(text)).Draw(t, "first split")
		j := rapid.IntRange(0, len(text)).Draw(t, "second split")
		a := schemas.KeyOf(schemas.SourceName(text[:i]), schemas.EventID(text[i:]))
		b := schemas.KeyOf(schemas.SourceName(text[:j]), schemas.EventID(text[j:]))
		if (a == b) != (i == j) {
			t.Fatalf("%q split at %d and at %d: keys %s and %s", text, i, j, a, b)
		}
	})
}

func TestKeyOfDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { schemas.KeyOf("github", "72d3162e-cc78-11e3-81ab-4c9367dc0958") }); n != 0 {
		t.Errorf("KeyOf allocates %v times, want 0", n)
	}
}

func TestCleanID(t *testing.T) {
	keep := func(id string) {
		t.Helper()
		if got := schemas.CleanID(id); string(got) != id {
			t.Errorf("CleanID(%q) = %q, want it as given", short(id), short(string(got)))
		}
	}
	hash := func(id string) {
		t.Helper()
		if got, want := schemas.CleanID(id), schemas.BodyID([]byte(id)); got != want {
			t.Errorf("CleanID(%q) = %q, want %q", short(id), short(string(got)), want)
		}
	}
	keep("")
	keep("evt_1")
	keep(" with spaces ")
	keep("12345678901234567890")
	keep("ünï-✓-日本")
	keep("\u00a0") // The first character after C1.
	keep(repeat("x", 512))
	keep(repeat("é", 256))
	hash(repeat("x", 513))
	hash(repeat("é", 256) + "x")
	hash("a\nb")
	hash("\x00")
	hash("a\x7f")
	hash("a\u0085b")
	hash("a\u009f")
	hash("a\xffb")
	hash("\xc3") // A cut off é.
}

func TestBodyID(t *testing.T) {
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := schemas.BodyID(nil); got != empty {
		t.Errorf("BodyID(nil) = %q, want %q", got, empty)
	}
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := schemas.BodyID([]byte("abc")); got != abc {
		t.Errorf("BodyID(abc) = %q, want %q", got, abc)
	}
}

func TestBodySum(t *testing.T) {
	// The check value of CRC-32C.
	if got, want := schemas.BodySum([]byte("123456789")), uint32(0xe3069283); got != want {
		t.Errorf("BodySum(123456789) = %#x, want %#x", got, want)
	}
}

func TestCleanType(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want schemas.EventType
	}{
		{"payment.succeeded", "payment.succeeded"},
		{"ORDER/Created v2", "ORDER/Created v2"},
		{"заказ", "заказ"},
		{repeat("x", 256), schemas.EventType(repeat("x", 256))},
		{"", schemas.UnknownType},
		{repeat("x", 257), schemas.UnknownType},
		{"a\tb", schemas.UnknownType},
		{"a\x7f", schemas.UnknownType},
		{"a\u0080", schemas.UnknownType},
		{"\xff", schemas.UnknownType},
	} {
		if got := schemas.CleanType(tt.in); got != tt.want {
			t.Errorf("CleanType(%q) = %q, want %q", short(tt.in), short(string(got)), short(string(tt.want)))
		}
	}
}

func TestCheckSourceName(t *testing.T) {
	for _, s := range []string{"a", "0", "stripe", "acme.eu-1_test", repeat("x", 64)} {
		if err := schemas.CheckSourceName(s); err != nil {
			t.Errorf("CheckSourceName(%q) = %v, want nil", s, err)
		}
	}
	for _, s := range []string{"", "A", ".a", "-a", "_a", "a b", "a/b", "a\n", "ä", repeat("x", 65), "a*"} {
		err := schemas.CheckSourceName(s)
		if err == nil || !strings.Contains(err.Error(), "[a-z0-9]") {
			t.Errorf("CheckSourceName(%q) = %v, want an error that names the pattern", s, err)
		}
	}
}

func TestPositionString(t *testing.T) {
	p := schemas.Position{Topic: "webhooks", Partition: 3, Offset: 42}
	if got, want := p.String(), "webhooks/3@42"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
