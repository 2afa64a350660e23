package wire

import "encoding/binary"

// HeaderLen is the length of a message's header: the type byte, and the length of the rest with itself included.
const HeaderLen = 5

// MaxMessageLength is the greatest length that a message may claim in its header. It is Postgres' own limit for large
// messages (MaxAllocSize).
const MaxMessageLength = 0x3fffffff

// MaxSmallMessage is the limit for messages that have no business being large (Postgres' PQ_SMALL_MESSAGE_LIMIT).
const MaxSmallMessage = 10000

// Frame looks at the header of the message that buf begins with. n is the message's whole length, type and header
// included, of which buf may hold less (or more); it is 0 when buf doesn't hold the whole header yet. The error is
// ErrMessageLength: the stream can't be understood any more, and the connection has to be closed.
func Frame(buf []byte) (typ byte, n int, err error) {
	if len(buf) < HeaderLen {
		return 0, 0, nil
	}
	l := binary.BigEndian.Uint32(buf[1:])
	if l < 4 || l > MaxMessageLength {
		return buf[0], 0, ErrMessageLength
	}
	return buf[0], int(l) + 1, nil
}

// Body returns what follows the header of a whole message: what the decoders take. It is nil if msg is shorter than a
// header.
func Body(msg []byte) []byte {
	if len(msg) < HeaderLen {
		return nil
	}
	return msg[HeaderLen:]
}

// FrontendLimit returns the greatest length that Postgres lets a frontend's message of this type claim in its header
// once the session runs, and 0 for a type that no frontend sends then ("invalid frontend message type").
func FrontendLimit(typ byte) int {
	switch typ {
	case MsgQuery, MsgParse, MsgBind, MsgFunctionCall, MsgCopyData:
		return MaxMessageLength
	case MsgClose, MsgDescribe, MsgExecute, MsgFlush, MsgSync, MsgTerminate, MsgCopyDone, MsgCopyFail:
		return MaxSmallMessage
	}
	return 0
}
