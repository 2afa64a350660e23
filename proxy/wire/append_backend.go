package wire

import "math"

// AppendAuthenticationOk appends an AuthenticationOk.
func AppendAuthenticationOk(dst []byte) []byte { return AppendAuthentication(dst, AuthOk, nil) }

// AppendAuthentication appends an Authentication message of a kind with its data, as AuthMD5Password's salt.
func AppendAuthentication(dst []byte, kind uint32, data []byte) []byte {
	dst, at := begin(dst, MsgAuthentication)
	return end(append(appendUint32(dst, kind), data...), at)
}

// AppendAuthenticationSASL appends an AuthenticationSASL that offers these mechanisms.
func AppendAuthenticationSASL(dst []byte, mechanisms ...string) []byte {
	dst, at := begin(dst, MsgAuthentication)
	dst = appendUint32(dst, AuthSASL)
	for _, m := range mechanisms {
		dst = appendString(dst, m)
	}
	return end(append(dst, 0), at)
}

// AppendNegotiateProtocolVersion appends a NegotiateProtocolVersion. protocol is the version that will be spoken, the
// whole number as in a StartupMessage: that is what Postgres sends, although its manual speaks of a minor version.
func AppendNegotiateProtocolVersion(dst []byte, protocol uint32, unknownOptions ...string) []byte {
	dst, at := begin(dst, MsgNegotiateProtocolVersion)
	dst = appendUint32(dst, protocol)
	dst = appendUint32(dst, uint32(len(unknownOptions)))
	for _, o := range unknownOptions {
		dst = appendString(dst, o)
	}
	return end(dst, at)
}

// AppendParameterStatus appends a ParameterStatus.
func AppendParameterStatus(dst []byte, name, value string) []byte {
	dst, at := begin(dst, MsgParameterStatus)
	return end(appendString(appendString(dst, name), value), at)
}

// AppendBackendKeyData appends a BackendKeyData. The secret is 4 bytes in protocol 3.0, and 4 to 256 in 3.2.
func AppendBackendKeyData(dst []byte, pid uint32, secret []byte) []byte {
	dst, at := begin(dst, MsgBackendKeyData)
	return end(append(appendUint32(dst, pid), secret...), at)
}

// AppendReadyForQuery appends a ReadyForQuery with TxIdle, TxActive or TxFailed.
func AppendReadyForQuery(dst []byte, status byte) []byte {
	return append(dst, MsgReadyForQuery, 0, 0, 0, 5, status)
}

// AppendParseComplete appends a ParseComplete.
func AppendParseComplete(dst []byte) []byte { return append(dst, MsgParseComplete, 0, 0, 0, 4) }

// AppendBindComplete appends a BindComplete.
func AppendBindComplete(dst []byte) []byte { return append(dst, MsgBindComplete, 0, 0, 0, 4) }

// AppendCloseComplete appends a CloseComplete.
func AppendCloseComplete(dst []byte) []byte { return append(dst, MsgCloseComplete, 0, 0, 0, 4) }

// AppendNoData appends a NoData.
func AppendNoData(dst []byte) []byte { return append(dst, MsgNoData, 0, 0, 0, 4) }

// AppendPortalSuspended appends a PortalSuspended.
func AppendPortalSuspended(dst []byte) []byte { return append(dst, MsgPortalSuspended, 0, 0, 0, 4) }

// AppendEmptyQueryResponse appends an EmptyQueryResponse.
func AppendEmptyQueryResponse(dst []byte) []byte {
	return append(dst, MsgEmptyQueryResponse, 0, 0, 0, 4)
}

// AppendCommandComplete appends a CommandComplete.
func AppendCommandComplete(dst []byte, tag string) []byte {
	dst, at := begin(dst, MsgCommandComplete)
	return end(appendString(dst, tag), at)
}

// AppendParameterDescription appends a ParameterDescription.
func AppendParameterDescription(dst []byte, types ...uint32) []byte {
	dst, at := begin(dst, MsgParameterDescription)
	dst = appendCount(dst, len(types))
	for _, oid := range types {
		dst = appendUint32(dst, oid)
	}
	return end(dst, at)
}

// Column describes a column of a result in a RowDescription.
type Column struct {
	Name         string
	TableOID     uint32 // 0: not a column of a table
	TableColumn  int16  // its attribute number there; 0: none
	TypeOID      uint32
	TypeSize     int16 // pg_type.typlen; negative: variable
	TypeModifier int32 // pg_attribute.atttypmod; -1: none
	Format       int16
}

// TextColumn is a column of type text that belongs to no table.
func TextColumn(name string) Column {
	return Column{Name: name, TypeOID: OIDText, TypeSize: -1, TypeModifier: -1}
}

// AppendRowDescription appends a RowDescription.
func AppendRowDescription(dst []byte, columns ...Column) []byte {
	dst, at := begin(dst, MsgRowDescription)
	dst = appendCount(dst, len(columns))
	for i := range columns {
		c := &columns[i]
		dst = appendString(dst, c.Name)
		dst = appendUint32(dst, c.TableOID)
		dst = appendUint16(dst, uint16(c.TableColumn))
		dst = appendUint32(dst, c.TypeOID)
		dst = appendUint16(dst, uint16(c.TypeSize))
		dst = appendUint32(dst, uint32(c.TypeModifier))
		dst = appendUint16(dst, uint16(c.Format))
	}
	return end(dst, at)
}

// AppendTextRowDescription appends a RowDescription of columns of type text, in text format.
func AppendTextRowDescription(dst []byte, names ...string) []byte {
	dst, at := begin(dst, MsgRowDescription)
	dst = appendCount(dst, len(names))
	for _, name := range names {
		dst = appendString(dst, name)
		dst = append(dst,
			0, 0, 0, 0, // table
			0, 0, // its column
			0, 0, 0, byte(OIDText),
			0xff, 0xff, // size: variable
			0xff, 0xff, 0xff, 0xff, // no modifier
			0, 0) // text format
	}
	return end(dst, at)
}

// AppendDataRow appends a DataRow. A nil value is NULL.
func AppendDataRow(dst []byte, values ...[]byte) []byte {
	dst, at := begin(dst, MsgDataRow)
	dst = appendCount(dst, len(values))
	for _, v := range values {
		dst = appendValue(dst, v)
	}
	return end(dst, at)
}

// AppendTextRow appends a DataRow of strings, none of them NULL.
func AppendTextRow(dst []byte, values ...string) []byte {
	dst, at := begin(dst, MsgDataRow)
	dst = appendCount(dst, len(values))
	for _, v := range values {
		if len(v) > math.MaxInt32 {
			panic("wire: value longer than 2 GiB")
		}
		dst = append(appendUint32(dst, uint32(len(v))), v...)
	}
	return end(dst, at)
}

// AppendCopyInResponse appends a CopyInResponse. format is the copy's overall format.
func AppendCopyInResponse(dst []byte, format int16, columnFormats ...int16) []byte {
	return appendCopyResponse(dst, MsgCopyInResponse, format, columnFormats)
}

// AppendCopyOutResponse appends a CopyOutResponse. format is the copy's overall format.
func AppendCopyOutResponse(dst []byte, format int16, columnFormats ...int16) []byte {
	return appendCopyResponse(dst, MsgCopyOutResponse, format, columnFormats)
}

func appendCopyResponse(dst []byte, typ byte, format int16, columnFormats []int16) []byte {
	dst, at := begin(dst, typ)
	return end(appendFormats(append(dst, byte(format)), columnFormats), at)
}

// AppendNotificationResponse appends a NotificationResponse.
func AppendNotificationResponse(dst []byte, pid uint32, channel, payload string) []byte {
	dst, at := begin(dst, MsgNotificationResponse)
	dst = appendUint32(dst, pid)
	return end(appendString(appendString(dst, channel), payload), at)
}
