package cache

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// part is one call of the builder: a Part, or Null when p is nil.
type keyPart struct {
	p    []byte
	null bool
}

func build(b *KeyBuilder, parts []keyPart) []byte {
	b.Reset()
	for _, p := range parts {
		if p.null {
			b.Null()
		} else {
			b.Part(p.p)
		}
	}
	return bytes.Clone(b.Bytes())
}

// partsGen makes short lists over a small alphabet that holds the bytes which
// lengths are written with, so that lists that could be mistaken for each
// other do come up.
func partsGen() *rapid.Generator[[]keyPart] {
	part := rapid.Custom(func(t *rapid.T) keyPart {
		if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			return keyPart{null: true}
		}
		p := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 3, 0x80, 0x81, 'a'}), 0, 4).Draw(t, "part")
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 { // lengths of two bytes
			p = append(bytes.Repeat([]byte{1}, rapid.IntRange(126, 130).Draw(t, "n")), p...)
		}
		return keyPart{p: p}
	})
	return rapid.SliceOfN(part, 0, 4)
}

func TestDifferentPartsNeverGiveEqualKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b KeyBuilder
		x, y := partsGen().Draw(t, "x"), partsGen().Draw(t, "y")
		same := slices.EqualFunc(x, y, func(a, b keyPart) bool { return a.null == b.null && bytes.Equal(a.p, b.p) })
		if got := bytes.Equal(build(&b, x), build(&b, y)); got != same {
			t.Fatalf("equal keys: %v, equal parts: %v", got, same)
		}
	})
}

// A key can be taken apart again, which is the proof that no two lists share
// one (the property above only samples it).
func TestKeyCanBeTakenApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b KeyBuilder
		parts := partsGen().Draw(t, "parts")
		k := build(&b, parts)
		for _, p := range parts {
			if len(k) >= 2 && k[0] == 0x80 && k[1] == 0 {
				if !p.null {
					t.Fatalf("null for %x", p.p)
				}
				k = k[2:]
				continue
			}
			n, shift, i := 0, 0, 0
			for {
				c := k[i]
				n |= int(c&0x7f) << shift
				i, shift = i+1, shift+7
				if c < 0x80 {
					break
				}
			}
			if p.null || !bytes.Equal(k[i:i+n], p.p) {
				t.Fatalf("got %x, want %v", k[i:i+n], p)
			}
			k = k[i+n:]
		}
		if len(k) != 0 {
			t.Fatalf("%d bytes left", len(k))
		}
	})
}

func TestKeyPartsOfOtherTypesArePartsOfTheirBytes(t *testing.T) {
	var a, b KeyBuilder
	a.Part([]byte("app"))
	a.Part([]byte{0, 0, 0, 0, 0, 0, 1, 2})
	b.PartString("app")
	b.PartUint64(0x0102)
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatalf("%x and %x", a.Bytes(), b.Bytes())
	}
}

func TestKeyBuilderAllocatesNothing(t *testing.T) {
	var b KeyBuilder
	sql := bytes.Repeat([]byte("select "), 40)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		b.PartString("database")
		b.PartUint64(42)
		b.Part(sql)
		b.Null()
		if len(b.Bytes()) == 0 {
			t.Fatal("empty")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
