package main

import (
	"encoding/binary"
	"slices"
)

// The answers, built once. They are never written to.
var (
	parseComplete        = message('1')
	bindComplete         = message('2')
	closeComplete        = message('3')
	parameterDescription = message('t', 0, 0)
	readyForQuery        = message('Z', 'I')
	rowDescription       = message('T', slices.Concat(
		[]byte{0, 1}, []byte("abalance\x00"),
		[]byte{0, 0, 0, 0, 0, 0},          // no table, no column
		[]byte{0, 0, 0, 23}, []byte{0, 4}, // int4
		[]byte{0xff, 0xff, 0xff, 0xff}, []byte{0, 0}, // no modifier, text
	)...)
	dataRow         = message('D', 0, 1, 0, 0, 0, 1, '1')
	commandComplete = message('C', []byte("SELECT 1\x00")...)

	executeAnswer = slices.Concat(dataRow, commandComplete)
	simpleAnswer  = slices.Concat(rowDescription, dataRow, commandComplete, readyForQuery)
	welcome       = slices.Concat(
		message('R', 0, 0, 0, 0), // AuthenticationOk
		parameter("server_version", "15.0"),
		parameter("server_encoding", "UTF8"),
		parameter("client_encoding", "UTF8"),
		parameter("DateStyle", "ISO, MDY"),
		parameter("TimeZone", "UTC"),
		parameter("integer_datetimes", "on"),
		parameter("standard_conforming_strings", "on"),
		message('K', 0, 0, 0, 1, 0, 0, 0, 1),
		readyForQuery,
	)
)

func message(typ byte, body ...byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body)))
	return append(m, body...)
}

func parameter(name, value string) []byte {
	return message('S', []byte(name+"\x00"+value+"\x00")...)
}
