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
//   - what a channel holds or a func has captured; both count as the pointer they are;
//   - that an object belongs to others as well, or to the program text, as string constants do. It is counted;
//     the location of a time.Time is not.
//
// The value must not be modified meanwhile.
package sizeof
