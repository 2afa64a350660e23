package wire

import "encoding/binary"

// OIDs is a list of OIDs as it stands in a message.
type OIDs []byte

// Len is the number of OIDs.
func (o OIDs) Len() int { return len(o) / 4 }

// At returns the i-th of them, from 0. It panics when i is out of range, as indexing does.
func (o OIDs) At(i int) uint32 { return binary.BigEndian.Uint32(o[4*i:]) }

// Formats is a list of format codes as it stands in a message.
type Formats []byte

// Len is the number of codes, which need not be the number of values: see Of.
func (f Formats) Len() int { return len(f) / 2 }

// At returns the i-th code, from 0. It panics when i is out of range, as indexing does.
func (f Formats) At(i int) int16 { return int16(binary.BigEndian.Uint16(f[2*i:])) }

// Of returns the format of the i-th value: no code stands for text, one code for all, otherwise each has its own (and
// FormatText if there are too few, which Postgres refuses).
func (f Formats) Of(i int) int16 {
	switch n := f.Len(); {
	case n == 1:
		return f.At(0)
	case i >= 0 && i < n:
		return f.At(i)
	}
	return FormatText
}

// Values is a list of values as it stands in a Bind or DataRow: already checked, and read by calling Next on a copy.
type Values struct {
	n   int
	raw []byte
}

// Len is the number of values that are left.
func (v Values) Len() int { return v.n }

// Raw is the list's bytes, lengths and all.
func (v Values) Raw() []byte { return v.raw }

// Next returns the next value, and false after the last. NULL is nil, the empty value isn't.
func (v *Values) Next() ([]byte, bool) {
	if v.n <= 0 {
		return nil, false
	}
	c := cursor{b: v.raw}
	value := c.value()
	v.n--
	v.raw = c.b
	return value, true
}

// Strings is a list of strings as it stands in a message.
type Strings struct {
	n   int
	raw []byte
}

// Len is the number of strings that are left.
func (s Strings) Len() int { return s.n }

// Next returns the next string without its NUL, and false after the last.
func (s *Strings) Next() ([]byte, bool) {
	if s.n <= 0 {
		return nil, false
	}
	c := cursor{b: s.raw}
	v := c.string()
	s.n--
	s.raw = c.b
	return v, true
}
