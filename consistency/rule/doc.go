// Package rule names the rules that keep answers right (DESIGN sections 2 and 4), each as a constant that is true. Built with
// the tag break_NAME one of them is false, and whoever upholds it doesn't: so that the programs that try to catch Freshet lying
// can show that they would. `make break` does that for each.
//
// Constants cost nothing: in an ordinary build the compiler drops what a broken rule would do.
package rule
