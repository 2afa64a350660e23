package router

import (
	"encoding/binary"
	"slices"

	"github.com/freshet/freshet/consistency"
)

// elementTypes are the types whose arrays hold values of a kind, and which a parameter or a cast may have.
var elementTypes = map[consistency.ValueKind][]uint32{
	consistency.KindInt:  {oidInt2, oidInt4, oidInt8},
	consistency.KindText: {oidText, oidVarchar},
	consistency.KindUUID: {oidUUID},
	consistency.KindBool: {oidBool},
}

// binaryArray calls add with each element of an array in binary form (array_send). false: it isn't an array of the kind in one
// dimension, has NULL in it, or add wants no more.
func binaryArray(b []byte, kind consistency.ValueKind, add func([]byte) bool) bool {
	const header = 12 // dimensions, flags, type of the elements
	if len(b) < header {
		return false
	}
	dimensions, elem := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[8:])
	if !slices.Contains(elementTypes[kind], elem) {
		return false
	}
	if b = b[header:]; dimensions == 0 {
		return len(b) == 0
	}
	if dimensions != 1 || len(b) < 8 {
		return false
	}
	n := binary.BigEndian.Uint32(b)
	for b = b[8:]; n > 0; n-- {
		if len(b) < 4 {
			return false
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) { // -1: NULL
			return false
		}
		if !add(b[:size]) {
			return false
		}
		b = b[size:]
	}
	return len(b) == 0
}

// textArray does so for an array as array_out writes it: {1,2,"a b"}. It reads only what is plain to read: no whitespace outside of
// quotes, one dimension, no bounds, no NULL.
func textArray(b []byte, add func([]byte) bool) bool {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return false
	}
	b = b[1 : len(b)-1]
	if len(b) == 0 {
		return true
	}
	for {
		var element []byte
		end := 0
		if b[0] == '"' {
			unescaped := []byte{}
			for end = 1; end < len(b) && b[end] != '"'; end++ {
				if b[end] == '\\' {
					end++
				}
				if end < len(b) {
					unescaped = append(unescaped, b[end])
				}
			}
			if end >= len(b) {
				return false
			}
			end++
			element = unescaped
		} else {
			for end < len(b) && b[end] != ',' {
				switch c := b[end]; {
				case c == '"', c == '\\', c == '{', c == '}', classes[c]&classSpace != 0:
					return false
				}
				end++
			}
			element = b[:end]
			if len(element) == 0 || len(element) == 4 && lowered(element) == [4]byte{'n', 'u', 'l', 'l'} {
				return false
			}
		}
		if !add(element) {
			return false
		}
		if end == len(b) {
			return true
		}
		if b[end] != ',' || end+1 == len(b) {
			return false
		}
		b = b[end+1:]
	}
}

// lowered is a word of four bytes in lower case.
func lowered(word []byte) (out [4]byte) {
	for i, c := range word {
		out[i] = lower[c]
	}
	return out
}
