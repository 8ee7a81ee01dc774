// Package script runs scripts in processes of their own. It is the one
// supervisor for every contract and for every language of scripts, and knows
// nothing about any of them.
//
// A contract has two halves. The daemon half is a Handler: it gives a Supervisor
// a Spec, feeds the Process it gets in OnReady, and hears what comes back. The
// script half is a Host in the child, by default the same binary started again as
// "weir script-host API", which calls Serve. In between go frames over a socket
// on file descriptor 3 of the child; frame.go says which, for hosts that are not
// written in Go. Those that are read large frames from memory that the daemon shares with
// them, see area.
//
//	Handler ── Process.Send ──► outbox ──► socket ──► Serve ──► Host.Frame
//	        ◄── OnFrame ─────── reader ◄── socket ◄── Writer ◄─┘
//
// A child has at most a few frames at a time and says which one it works on, so
// that the daemon knows what was in work when it died: Exit.Working. Frames that
// were not done are never handed to the next process. A contract that must not
// lose them feeds them again, from what it knows was acknowledged; Isolation and
// Quarantine help when one of them ends every process that gets it.
//
// A goroutine of the child answers pings while a call runs and says what it is at.
// So the process of a call that takes too long is killed with a known file:line. A host that can raises an error
// in the call before that, and when it is interrupted because the script is to stop. The same pings carry statistics. Memory is read from /proc,
// with a limit of the kernel behind it. Children are killed when the daemon dies, and
// what they started is killed with them.
//
// Everything is per script: a script that hangs, floods or dies delays nobody but
// its own senders, and those choose between an error (Send) and waiting (SendWait).
// It is not to slow the others down either: see niceMost for priorities, Registry.hold for
// what they leave open, backoff and Registry.turn for restarts.
package script
