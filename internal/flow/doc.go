// Package flow takes in flow records: NetFlow v5 and v9, IPFIX and sFlow over UDP, or files of them. It
// turns each record into updates of the built-in counter groups, as sections 6 and 7 of the
// specification of counter groups say.
//
// A Decoder makes Records of datagrams, a Meter makes updates of records. The data records of templates are read
// in place, with a layout worked out once per template; goflow2's decoder, which makes a value for
// every field, is what the tests compare with. Samples of sFlow are read by goflow2.
package flow
