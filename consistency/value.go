package consistency

import (
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/cespare/xxhash/v2"
)

// ValueKind says how the values of a column are told apart: such that two are equal for Postgres exactly if their canonical forms
// are. There are no kinds but these.
type ValueKind uint8

// Kinds of values.
const (
	KindInt  ValueKind = iota + 1 // smallint, integer, bigint: one number, whatever the width
	KindText                      // text and varchar under a deterministic collation: the bytes, in the encoding of the feed
	KindUUID
	KindBool
)

// RowHash is a hash of the values of a column set, in the order of its columns. The zero value is that of none. It is the same in
// every process.
type RowHash uint64

// Text adds a value in the text form that Postgres gives it. false: it isn't in that form, or is none of this kind, so that it
// isn't known what it is equal to. (Postgres reads more than it writes: ' 42 ', '+1', '0x10' and, for a uuid, braces.)
func (h RowHash) Text(kind ValueKind, v []byte) (RowHash, bool) {
	switch kind {
	case KindInt:
		n, ok := parseInt(v)
		return h.int(n), ok
	case KindText:
		return h.add(xxhash.Sum64(v)), true
	case KindUUID:
		var u [16]byte
		if len(v) != 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
			return h, false
		}
		at := 0
		for _, part := range [...][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
			n, err := hex.Decode(u[at:], v[part[0]:part[1]])
			if err != nil {
				return h, false
			}
			at += n
		}
		return h.uuid(u[:]), true
	case KindBool:
		switch string(v) {
		case "t", "true":
			return h.add(1), true
		case "f", "false":
			return h.add(0), true
		}
	}
	return h, false
}

// Binary adds a value in Postgres' binary form, of a type of the kind. false: it isn't of one.
func (h RowHash) Binary(kind ValueKind, v []byte) (RowHash, bool) {
	switch kind {
	case KindInt:
		switch len(v) {
		case 2:
			return h.int(int64(int16(binary.BigEndian.Uint16(v)))), true
		case 4:
			return h.int(int64(int32(binary.BigEndian.Uint32(v)))), true
		case 8:
			return h.int(int64(binary.BigEndian.Uint64(v))), true
		}
	case KindText:
		return h.add(xxhash.Sum64(v)), true
	case KindUUID:
		if len(v) == 16 {
			return h.uuid(v), true
		}
	case KindBool:
		if len(v) == 1 && v[0] <= 1 {
			return h.add(uint64(v[0])), true
		}
	}
	return h, false
}

func (h RowHash) int(n int64) RowHash { return h.add(uint64(n)) }

func (h RowHash) uuid(u []byte) RowHash {
	return h.add(binary.BigEndian.Uint64(u)).add(binary.BigEndian.Uint64(u[8:]))
}

// add is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"): every bit of what is
// added changes half of the result's, so that its low bits alone can choose a cell.
func (h RowHash) add(v uint64) RowHash {
	x := uint64(h)*0x9e3779b97f4a7c15 + v + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return RowHash(x ^ x>>31)
}

// parseInt reads what int2out, int4out and int8out write. Zeros may come before it, which Postgres reads as they are meant.
func parseInt(v []byte) (int64, bool) {
	digits, negative := v, false
	if len(v) > 0 && v[0] == '-' {
		digits, negative = v[1:], true
	}
	if len(digits) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' || n > math.MaxInt64/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case negative && n <= math.MaxInt64+1:
		return -int64(n), true
	case n <= math.MaxInt64:
		return int64(n), true
	}
	return 0, false
}
