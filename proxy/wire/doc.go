// Package wire is the Postgres frontend/backend protocol, versions 3.0 to 3.2: it finds the messages in a stream of
// bytes, looks into them, and builds new ones.
//
// It is for bytes alone. It holds no connection and no session, knows no SQL, and (but for Reader, which the blocking
// handshakes use) does no I/O. Names are the protocol manual's own.
//
// The rules it upholds:
//
//   - A decoder never panics, whatever the bytes, and never looks outside the slice it was given. It is as strict as
//     Postgres: a message that is too short, or that goes on after its end, is an error in Postgres' own words.
//   - A decoder copies and allocates nothing. Every []byte in a decoded message is a view into the caller's slice: it
//     is valid as long as that slice is, and must not be written to. The exceptions say so (DecodeError).
//   - A builder appends one whole message to dst and returns the extended slice, as append does. It never makes a
//     length that wraps, and never lets a string's NUL end a field early (CVE-2024-27304 and its kin).
//
// All functions are safe for concurrent use; Reader isn't.
package wire
