// Package router turns the text of a statement into a Plan: what the statement is, whether it may be answered by a
// replica or from the cache, on which relations its answer depends, and which state it would leave on a server
// connection.
//
// It is not for deciding where a statement goes right now: that needs the session's floor and the nodes' positions.
// A plan is a function of the statement's fingerprint, the context (role, search path, parameter types) and one
// catalog snapshot, and of nothing else: two texts with one fingerprint have one plan.
//
// The rule it upholds: what isn't proven isn't assumed. A statement is cacheable only if every node of its parse tree
// is known to be safe; it is a read only if nothing in it can write; it leaves no state behind only if everything it
// runs is known to leave none. Each refusal names the construct that caused it.
package router
