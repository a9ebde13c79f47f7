// Package sizeof estimates how much heap a decoded value keeps alive, so that a cache can be bounded in bytes.
//
// Go offers no such number. Of walks the value by reflection and adds up its objects, each rounded up to the size class
// the allocator would take it from.
//
// It is right to a few percent for what decoders produce: structs, strings, slices, maps, pointers, interfaces. It
// cannot know:
//
//   - that a string or a slice is part of a larger array; only the part in sight is counted;
//   - that a map once was larger; its size is deduced from the entries it has;
//   - that an object belongs to others as well, or to the program text, as string constants do. It is counted;
//     the location of a time.Time is not.
//
// # What is not read
//
// Values are shared, and read-only by contract; but what they hold may have an inside that its own methods change, as an
// http.Client has its table of idle connections. To read that meanwhile is a data race, and ends the process if it is a
// map. So the walk enters only what its type proves to be plain: see planOf. For what it does not enter it has a guess,
// 64 bytes for each reference, and says so.
//
// The plain part of a value must not be modified while it is sized.
package sizeof
