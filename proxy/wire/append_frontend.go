package wire

import (
	"encoding/binary"
)

// AppendQuery appends a Query.
func AppendQuery(dst []byte, sql string) []byte {
	dst, at := begin(dst, MsgQuery)
	return end(appendString(dst, sql), at)
}

// AppendParse appends a Parse. paramTypes are the parameters' types as far as the client gives them; 0 leaves one open.
func AppendParse(dst []byte, name, query string, paramTypes ...uint32) []byte {
	dst, at := begin(dst, MsgParse)
	dst = appendString(dst, name)
	dst = appendString(dst, query)
	dst = appendCount(dst, len(paramTypes))
	for _, oid := range paramTypes {
		dst = appendUint32(dst, oid)
	}
	return end(dst, at)
}

// AppendBind appends a Bind. A nil parameter is NULL. Format lists are as in the protocol: none is text for all, one is
// for all.
func AppendBind(dst []byte, portal, statement string, paramFormats []int16, params [][]byte, resultFormats []int16) []byte {
	dst, at := begin(dst, MsgBind)
	dst = appendString(dst, portal)
	dst = appendString(dst, statement)
	dst = appendFormats(dst, paramFormats)
	dst = appendCount(dst, len(params))
	for _, p := range params {
		dst = appendValue(dst, p)
	}
	dst = appendFormats(dst, resultFormats)
	return end(dst, at)
}

func appendFormats(dst []byte, formats []int16) []byte {
	dst = appendCount(dst, len(formats))
	for _, f := range formats {
		dst = appendUint16(dst, uint16(f))
	}
	return dst
}

// AppendDescribe appends a Describe of ObjectStatement or ObjectPortal.
func AppendDescribe(dst []byte, object byte, name string) []byte {
	return appendNamed(dst, MsgDescribe, object, name)
}

// AppendClose appends a Close of ObjectStatement or ObjectPortal.
func AppendClose(dst []byte, object byte, name string) []byte {
	return appendNamed(dst, MsgClose, object, name)
}

func appendNamed(dst []byte, typ, object byte, name string) []byte {
	dst, at := begin(dst, typ)
	return end(appendString(append(dst, object), name), at)
}

// AppendExecute appends an Execute. maxRows 0 is no limit.
func AppendExecute(dst []byte, portal string, maxRows uint32) []byte {
	dst, at := begin(dst, MsgExecute)
	return end(appendUint32(appendString(dst, portal), maxRows), at)
}

// AppendSync appends a Sync.
func AppendSync(dst []byte) []byte { return append(dst, MsgSync, 0, 0, 0, 4) }

// AppendFlush appends a Flush.
func AppendFlush(dst []byte) []byte { return append(dst, MsgFlush, 0, 0, 0, 4) }

// AppendTerminate appends a Terminate.
func AppendTerminate(dst []byte) []byte { return append(dst, MsgTerminate, 0, 0, 0, 4) }

// AppendCopyData appends a CopyData, of either direction.
func AppendCopyData(dst, data []byte) []byte {
	dst, at := begin(dst, MsgCopyData)
	return end(append(dst, data...), at)
}

// AppendCopyDone appends a CopyDone, of either direction.
func AppendCopyDone(dst []byte) []byte { return append(dst, MsgCopyDone, 0, 0, 0, 4) }

// AppendCopyFail appends a CopyFail. The message becomes part of the server's error.
func AppendCopyFail(dst []byte, message string) []byte {
	dst, at := begin(dst, MsgCopyFail)
	return end(appendString(dst, message), at)
}

// AppendFunctionCall appends a FunctionCall. A nil argument is NULL.
func AppendFunctionCall(dst []byte, function uint32, argFormats []int16, args [][]byte, resultFormat int16) []byte {
	dst, at := begin(dst, MsgFunctionCall)
	dst = appendUint32(dst, function)
	dst = appendFormats(dst, argFormats)
	dst = appendCount(dst, len(args))
	for _, a := range args {
		dst = appendValue(dst, a)
	}
	return end(appendUint16(dst, uint16(resultFormat)), at)
}

// AppendPassword appends a PasswordMessage: a password, or its MD5 form.
func AppendPassword(dst []byte, password string) []byte {
	dst, at := begin(dst, MsgPasswordMessage)
	return end(appendString(dst, password), at)
}

// AppendSASLInitialResponse appends a SASLInitialResponse. A nil response is "none".
func AppendSASLInitialResponse(dst []byte, mechanism string, response []byte) []byte {
	dst, at := begin(dst, MsgPasswordMessage)
	dst = appendString(dst, mechanism)
	return end(appendValue(dst, response), at)
}

// AppendSASLResponse appends a SASLResponse.
func AppendSASLResponse(dst, response []byte) []byte {
	dst, at := begin(dst, MsgPasswordMessage)
	return end(append(dst, response...), at)
}

// AppendStartup appends a StartupMessage with these parameters, in their order.
func AppendStartup(dst []byte, protocol uint32, params []Param) []byte {
	at := len(dst)
	dst = appendUint32(dst, 0)
	dst = appendUint32(dst, protocol)
	for _, p := range params {
		if p.Name == "" {
			continue // an empty name ends the list
		}
		dst = appendString(dst, p.Name)
		dst = appendString(dst, p.Value)
	}
	return end(append(dst, 0), at)
}

// AppendSSLRequest appends an SSLRequest.
func AppendSSLRequest(dst []byte) []byte { return appendUint32(appendUint32(dst, 8), CodeSSLRequest) }

// AppendGSSENCRequest appends a GSSENCRequest.
func AppendGSSENCRequest(dst []byte) []byte {
	return appendUint32(appendUint32(dst, 8), CodeGSSENCRequest)
}

// AppendCancelRequest appends a CancelRequest.
func AppendCancelRequest(dst []byte, pid uint32, secret []byte) []byte {
	at := len(dst)
	dst = appendUint32(dst, 0)
	dst = appendUint32(dst, CodeCancelRequest)
	dst = appendUint32(dst, pid)
	return end(append(dst, secret...), at)
}

// AppendBindHead appends a Bind's header and its two names, for a message whose other rest bytes follow from elsewhere:
// a Bind too large to be held, of which DecodeBindNames has read the beginning.
func AppendBindHead(dst []byte, portal, statement []byte, rest int) ([]byte, error) {
	start := len(dst)
	dst, at := begin(dst, MsgBind)
	dst = appendBytes(dst, portal)
	dst = appendBytes(dst, statement)
	n := len(dst) - at
	if rest < 0 || rest > MaxMessageLength-n {
		return dst[:start], ErrTooLong
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(n+rest))
	return dst, nil
}

// AppendParseAs appends p under another name, the rest as it is. The error is ErrTooLong, with dst as it was.
func AppendParseAs(dst []byte, p Parse, name []byte) ([]byte, error) {
	start := len(dst)
	dst, at := begin(dst, MsgParse)
	dst = appendBytes(dst, name)
	dst = appendBytes(dst, p.Query)
	dst = appendUint16(dst, uint16(p.ParamTypes.Len()))
	dst = append(dst, p.ParamTypes...)
	return endChecked(dst, start, at)
}

// AppendBindAs appends b for another portal and another statement, the rest as it is. The error is ErrTooLong, with
// dst as it was.
func AppendBindAs(dst []byte, b Bind, portal, statement []byte) ([]byte, error) {
	start := len(dst)
	dst, at := begin(dst, MsgBind)
	dst = appendBytes(dst, portal)
	dst = appendBytes(dst, statement)
	dst = append(dst, b.rest...)
	return endChecked(dst, start, at)
}

// AppendDescribeAs appends a Describe of another name.
func AppendDescribeAs(dst []byte, object byte, name []byte) []byte {
	dst, at := begin(dst, MsgDescribe)
	return end(appendBytes(append(dst, object), name), at)
}

// AppendCloseAs appends a Close of another name.
func AppendCloseAs(dst []byte, object byte, name []byte) []byte {
	dst, at := begin(dst, MsgClose)
	return end(appendBytes(append(dst, object), name), at)
}

// AppendExecuteAs appends e for another portal.
func AppendExecuteAs(dst []byte, e Execute, portal []byte) []byte {
	dst, at := begin(dst, MsgExecute)
	return end(appendUint32(appendBytes(dst, portal), e.MaxRows), at)
}

func endChecked(dst []byte, start, at int) ([]byte, error) {
	n := len(dst) - at
	if n > MaxMessageLength {
		return dst[:start], ErrTooLong
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(n))
	return dst, nil
}
