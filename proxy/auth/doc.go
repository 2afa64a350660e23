// Package auth answers two questions: is a client who it says it is, and how does Freshet log in to a server as that
// same user?
//
// Both are answered by SCRAM-SHA-256 (RFC 5802, RFC 7677), without a password being stored anywhere. Postgres keeps a
// verifier for each role: StoredKey, by which a client's proof is checked, and ServerKey, by which the server proves
// that it knew the verifier. A proof that is right lets the one who checks it work out the ClientKey. With ClientKey and
// ServerKey, Freshet then plays the client's part towards the servers, which know the same verifier: Postgres' own
// permissions go on to decide, under the user's own name.
//
// What the package is not: it decides nothing about databases, settings or privileges (the server does), and it opens no
// connection but the one by which CatalogSource asks for verifiers.
//
// The rules it upholds:
//
//   - Whoever fails learns nothing. A user that doesn't exist, one without a usable password and one whose password is
//     wrong go through the same exchange and get the same words (HAZARDS 26); the reason goes to Freshet's log.
//   - Secrets are compared in constant time, and no type of this package prints one (HAZARDS 28).
//   - Every message has a bound on its length, its nonce and its iteration count (HAZARDS 27).
//   - The query for a verifier names everything by its schema and runs on a connection that no client's setting has ever
//     reached (HAZARDS 24), and VALID UNTIL counts (HAZARDS 25).
package auth
