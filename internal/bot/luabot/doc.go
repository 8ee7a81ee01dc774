// Package luabot runs collectors written in Lua: scripts with jobs() and
// perform_job(affecting_intervals, params), which keep the rules of every other bot (section 1 of
// the specification of collectors).
//
// Bot is the daemon half: it asks the script for its jobs at every refresh, and lets it do them. The
// script half, a script.Host, has the script in a process of its own, where calls come one
// after another.
package luabot
