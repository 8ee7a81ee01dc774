// Package inventory knows what there is to poll and who may ask: accounts with
// their entities, credentials and sensors, and the bots and persons with their tokens and permissions
// (specification of the collector contract, sections 4 and 6). It keeps them in a SQLite database.
//
// Secrets - the details of credentials, and tokens - are encrypted in the database with a key
// that is not in it. The database is opened when it is needed first. One that is locked
// or damaged is left as it is: everything fails with ErrUnavailable until it works again.
package inventory
