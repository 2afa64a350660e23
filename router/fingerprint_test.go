package router

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"testing"
)

// reference is SipHash with 128 bits of output, written down from the paper, with any number of rounds.
func reference(key [16]byte, in []byte, c, d int) [16]byte {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	rounds := func(n int) {
		for range n {
			v[0] += v[1]
			v[2] += v[3]
			v[1] = bits.RotateLeft64(v[1], 13)
			v[3] = bits.RotateLeft64(v[3], 16)
			v[1] ^= v[0]
			v[3] ^= v[2]
			v[0] = bits.RotateLeft64(v[0], 32)
			v[2] += v[1]
			v[0] += v[3]
			v[1] = bits.RotateLeft64(v[1], 17)
			v[3] = bits.RotateLeft64(v[3], 21)
			v[1] ^= v[2]
			v[3] ^= v[0]
			v[2] = bits.RotateLeft64(v[2], 32)
		}
	}
	padded := append([]byte(nil), in...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(in)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		rounds(c)
		v[0] ^= m
	}
	var out [16]byte
	v[2] ^= 0xee
	rounds(d)
	binary.LittleEndian.PutUint64(out[:8], v[0]^v[1]^v[2]^v[3])
	v[1] ^= 0xdd
	rounds(d)
	binary.LittleEndian.PutUint64(out[8:], v[0]^v[1]^v[2]^v[3])
	return out
}

func TestFingerprintIsSipHash(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	// The first of the published vectors (for 2 and 4 rounds) show that the reference is one.
	for n, want := range []string{"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45"} {
		if got := reference(key, []byte{0}[:n], 2, 4); hex.EncodeToString(got[:]) != want {
			t.Errorf("reference of %d bytes is %x, want %s", n, got, want)
		}
	}
	k := sipKey{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	var in []byte
	for n := range 70 {
		want := reference(key, in, 1, 3)
		got := k.sum(in)
		if got.Lo != binary.LittleEndian.Uint64(want[:8]) || got.Hi != binary.LittleEndian.Uint64(want[8:]) {
			t.Errorf("of %d bytes: %v, want %x", n, got, want)
		}
		in = append(in, byte(n))
	}
}
