// Package netflow is the bot that summarises flow records (section 5.4 of the
// specification of collectors): bytes per window of each exporter, by interface, address,
// protocol, pair of addresses and port.
//
//	flow.Listener ── Flows.Take ──► rows ── every run ──► windows, one per label and account
//	                                                        └── Bot: values of a window
//
// Flow records are kept nowhere. They are added up in rows, one for all records that are alike
// in what the summaries show, and from there in the windows, where each table has a bound. A file keeps what
// windows hold, so that they go on after a restart.
package netflow
