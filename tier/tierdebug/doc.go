// Package tierdebug shows a store on a page, like net/http/pprof:
//
//	mux.Handle("/debug/tiercache/", tierdebug.New(store))
//
// The page has hit rates over time, by namespace; both tiers; how long reads, loads and writes take; the keys that are read most;
// the changes of the log as they come; what works now, in plain words, with the age that a local copy can have; and what each tier
// holds for a key; and the processes that report ([tier.WithReport]). It works under any path that ends in a slash, with or without http.StripPrefix.
//
// # Who may see it
//
// The page shows keys, namespaces and sources, and no values. Anyone who reaches it sees them: mount it where only operators come, or
// behind what authenticates them. It is of one process: behind a load balancer each request may reach another.
//
// It changes nothing, unless [WithActions] is given: then it can invalidate, and bypass namespaces. Such a request must come from the page itself:
// another site can neither send one through an operator's browser (requests of other origins are refused, and a token is asked for that
// only the page has), nor show the page in a frame. The page loads nothing from elsewhere, and runs no script but its own.
//
// # What it costs
//
// A store that has a page counts its reads' keys: up to about a thousand reads a second are looked at, and of more a part. Of others it
// counts how long they take. Every two seconds it reads its own figures. The server is asked nothing until the page is open, and then
// for its state and the latest changes every two seconds. Nothing of this goes on after the store was closed.
//
// The same is there as JSON under state.json, for scripts.
package tierdebug
