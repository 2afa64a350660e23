package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
)

// AppendHeader appends the header of a message whose body of size bytes is written piece by piece.
func AppendHeader(dst []byte, typ byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, typ), uint32(size+4))
}

// begin appends a header whose length end fills in.
func begin(dst []byte, typ byte) ([]byte, int) {
	return append(dst, typ, 0, 0, 0, 0), len(dst) + 1
}

// end fills in the length of the message whose length field is at at. Everything that a client can make long is checked
// before it gets here (Frame, ErrTooLong), so more than 2 GiB is a bug in the caller. Then there is no right way on: a
// length that wraps makes several messages of one, and lets data be read as commands (CVE-2024-27304).
func end(dst []byte, at int) []byte {
	n := len(dst) - at
	if n > math.MaxInt32 {
		panic("wire: message longer than 2 GiB")
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(n))
	return dst
}

// appendString appends s up to its first NUL, and a NUL: what follows a NUL would be read as another field.
func appendString(dst []byte, s string) []byte {
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return append(append(dst, s...), 0)
}

// appendBytes is appendString for a slice.
func appendBytes(dst, s []byte) []byte {
	if i := bytes.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return append(append(dst, s...), 0)
}

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func appendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// appendCount appends the number of elements of a list. A list can't have more than 65,535; see end for why it panics.
func appendCount(dst []byte, n int) []byte {
	if n > math.MaxUint16 {
		panic("wire: list of more than 65535 elements")
	}
	return appendUint16(dst, uint16(n))
}

// appendValue appends a value with its length; nil is NULL.
func appendValue(dst, v []byte) []byte {
	if v == nil {
		return appendUint32(dst, math.MaxUint32)
	}
	if len(v) > math.MaxInt32 {
		panic("wire: value longer than 2 GiB")
	}
	return append(appendUint32(dst, uint32(len(v))), v...)
}
