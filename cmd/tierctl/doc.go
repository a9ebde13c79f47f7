// Tierctl looks into the part of a tiercache that processes share, in Valkey, and steers it:
//
//	tierctl doctor                        checks the server and this user's rights, and says what to do
//	tierctl explain NAMESPACE KEY         what is stored, whether it is believed, which change ended it
//	tierctl invalidate source ID...       has sources change; also namespace, all and key
//	tierctl bypass namespace PATH         has every process use its loaders for a time
//	tierctl watch                         prints changes as they are recorded
//	tierctl stats                         change log, servers, memory by namespace
//	tierctl top, tierctl fleet            the keys that are read most, and the processes: of stores that report
//	tierctl purge NAMESPACE               frees a namespace's memory
//	tierctl advise FILE                   how large a local tier must be, from a trace of reads
//
// docs/tierctl.md describes it, with its exit codes; docs/troubleshooting.md goes by symptom.
//
// What changes something goes through the library, as in any other process. What only looks reads the server as
// docs/format.md describes it, so that it works beside stores of any version, in either mode, and with a user that may
// not write. The change log and its messages it reads with decoders of its own, which tests compare with the library's
// (docs/adr/0023).
package main
