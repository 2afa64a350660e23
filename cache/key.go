package cache

import "encoding/binary"

// KeyBuilder puts a key together from parts: database, role, settings,
// statement, parameters, formats. Each part carries its length, so that no
// two different lists of parts give equal keys (HAZARDS 8).
//
// The zero value is ready. It is scratch to be used again and again, for one
// goroutine at a time; in steady state it allocates nothing.
type KeyBuilder struct {
	buf []byte
}

// Reset begins a new key. What Bytes returned before is overwritten from
// here on.
func (b *KeyBuilder) Reset() { b.buf = b.buf[:0] }

// Part appends one part; its bytes are copied. An empty part counts: it is
// different from no part.
func (b *KeyBuilder) Part(p []byte) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(p)))
	b.buf = append(b.buf, p...)
}

// PartString is Part for a string.
func (b *KeyBuilder) PartString(p string) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(p)))
	b.buf = append(b.buf, p...)
}

// PartUint64 appends a number as a part of eight bytes (so it equals Part of
// its big-endian bytes).
func (b *KeyBuilder) PartUint64(v uint64) {
	b.buf = append(b.buf, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

// Null appends what no Part can: the mark of an absent part, such as a
// parameter that is NULL where an empty string would be a Part of length 0.
func (b *KeyBuilder) Null() {
	// A length that Part never writes: AppendUvarint is minimal, and this is
	// zero in two bytes.
	b.buf = append(b.buf, 0x80, 0x00)
}

// Bytes is the key. It belongs to the builder and is valid until the next
// call of Reset or a Part method; whoever keeps it copies it.
func (b *KeyBuilder) Bytes() []byte { return b.buf }
