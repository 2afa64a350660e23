package wire

// Types of messages that a frontend (client) sends.
const (
	MsgBind            byte = 'B'
	MsgClose           byte = 'C'
	MsgCopyData        byte = 'd' // both directions
	MsgCopyDone        byte = 'c' // both directions
	MsgCopyFail        byte = 'f'
	MsgDescribe        byte = 'D'
	MsgExecute         byte = 'E'
	MsgFlush           byte = 'H'
	MsgFunctionCall    byte = 'F'
	MsgParse           byte = 'P'
	MsgPasswordMessage byte = 'p' // also GSSResponse, SASLInitialResponse, SASLResponse
	MsgQuery           byte = 'Q'
	MsgSync            byte = 'S'
	MsgTerminate       byte = 'X'
)

// Types of messages that a backend (server) sends.
const (
	MsgAuthentication           byte = 'R'
	MsgBackendKeyData           byte = 'K'
	MsgBindComplete             byte = '2'
	MsgCloseComplete            byte = '3'
	MsgCommandComplete          byte = 'C'
	MsgCopyBothResponse         byte = 'W'
	MsgCopyInResponse           byte = 'G'
	MsgCopyOutResponse          byte = 'H'
	MsgDataRow                  byte = 'D'
	MsgEmptyQueryResponse       byte = 'I'
	MsgErrorResponse            byte = 'E'
	MsgFunctionCallResponse     byte = 'V'
	MsgNegotiateProtocolVersion byte = 'v'
	MsgNoData                   byte = 'n'
	MsgNoticeResponse           byte = 'N'
	MsgNotificationResponse     byte = 'A'
	MsgParameterDescription     byte = 't'
	MsgParameterStatus          byte = 'S'
	MsgParseComplete            byte = '1'
	MsgPortalSuspended          byte = 's'
	MsgReadyForQuery            byte = 'Z'
	MsgRowDescription           byte = 'T'
)

// Transaction status in ReadyForQuery.
const (
	TxIdle   byte = 'I' // not in a transaction block
	TxActive byte = 'T' // in a transaction block
	TxFailed byte = 'E' // in a failed transaction block
)

// What Describe and Close are about.
const (
	ObjectStatement byte = 'S'
	ObjectPortal    byte = 'P'
)

// Kinds of authentication request: the first integer of an Authentication message.
const (
	AuthOk                uint32 = 0
	AuthCleartextPassword uint32 = 3
	AuthMD5Password       uint32 = 5
	AuthGSS               uint32 = 7
	AuthSSPI              uint32 = 9
	AuthSASL              uint32 = 10
	AuthSASLContinue      uint32 = 11
	AuthSASLFinal         uint32 = 12
)

// Format codes of parameters and columns.
const (
	FormatText   int16 = 0
	FormatBinary int16 = 1
)

// OIDText is the OID of the type text, for rows that are made here.
const OIDText uint32 = 25

// Param is a named setting in a startup message, or what ParameterStatus says about one.
type Param struct{ Name, Value string }

// ParamStatus is a Param as a server reported it.
type ParamStatus = Param
