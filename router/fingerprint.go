package router

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Fingerprint identifies a statement with its literals lifted out, or, where Scan.Exact says so, its exact text.
//
// Whoever can send statements must not be able to find two texts with one fingerprint, or else the plan of a read
// could be had for a write. It is therefore SipHash-1-3 with 128 bits of output under a key that is made at process
// start and never leaves the process: a keyed function whose collisions can't be searched for without the key, unlike
// those of any fixed hash that is quick enough for this place. So a fingerprint is comparable within one process
// only, and isn't for showing to users: StatementID is.
type Fingerprint struct{ Hi, Lo uint64 }

// String is the fingerprint in hexadecimal, for debugging.
func (f Fingerprint) String() string { return fmt.Sprintf("%016x%016x", f.Hi, f.Lo) }

type sipKey struct{ k0, k1 uint64 }

var fingerprintKey = newSipKey()

func newSipKey() sipKey {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return sipKey{binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])}
}

// sum is SipHash-1-3 with 128 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF", and the reference
// implementation for the long output).
func (k sipKey) sum(p []byte) Fingerprint {
	v0 := k.k0 ^ 0x736f6d6570736575
	v1 := k.k1 ^ 0x646f72616e646f6d ^ 0xee
	v2 := k.k0 ^ 0x6c7967656e657261
	v3 := k.k1 ^ 0x7465646279746573
	last := uint64(len(p)) << 56
	for len(p) >= 8 {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
		p = p[8:]
	}
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xee
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	lo := v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return Fingerprint{Hi: v0 ^ v1 ^ v2 ^ v3, Lo: lo}
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
