// Package front is what everybody who writes or asks for series goes through
// (specification of the timeseries contract, sections 1 and 3): the definitions of schemas, the
// drivers that are written to with the one that answers, and the functions
// scripts know as ts_utils.
package front
