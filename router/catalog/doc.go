// Package catalog holds what a database says about its relations, functions, operators, types and roles: an immutable
// Snapshot, and a Watcher that keeps a current one by polling a cheap digest of the system catalogs.
//
// It is not for judging statements (package router does), and not for the positions or roles of nodes.
//
// The rule it upholds: every change of the catalog that could change the meaning or the permission of a statement
// changes the digest, and a new snapshot is current before anybody is told about the change.
package catalog
