package command

const (
	sortByNote    = "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort"
	sortStoreNote = "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array"
	sortCost      = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N)."
)

// sortArgs are the arguments that SORT and SORT_RO have in common.
func sortArgs(more ...Arg) []Arg {
	return append([]Arg{
		keyArg("key", 0),
		{Name: "by-pattern", Type: "pattern", KeySpec: 1, Token: "BY", Display: "pattern", Optional: true},
		block("limit", arg("offset", "integer"), arg("count", "integer")).tok("LIMIT").opt(),
		{Name: "get-pattern", Type: "pattern", KeySpec: 1, Token: "GET", Display: "pattern", Optional: true, Multiple: true, MultipleToken: true},
		oneOf("order", tok("asc", "ASC"), tok("desc", "DESC")).opt(),
		tok("sorting", "ALPHA").opt(),
	}, more...)
}

var sortCommands = []*Command{
	{
		Name: "sort", Arity: -2, Flags: Write | DenyOOM | MovableKeys, Run: sortCommand, GetKeys: sortKeys, Undeclared: sortPatterns,
		Group: "generic", Since: "1.0.0", Complexity: sortCost,
		Categories: []string{"set", "sortedset", "list", "dangerous"},
		Summary:    "Sorts the elements of a list, a set or a sorted set, and may store them.",
		Keys: []KeySpec{
			{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1},
			{Flags: []string{"RO", "access"}, Notes: sortByNote},
			{Flags: []string{"OW", "update"}, Notes: sortStoreNote},
		},
		Args: sortArgs(Arg{Name: "destination", Type: "key", KeySpec: 2, Token: "STORE", Optional: true}),
	},
	{
		Name: "sort_ro", Arity: -2, Flags: ReadOnly | MovableKeys, Run: sortReadOnly, GetKeys: firstKey, Undeclared: sortPatterns,
		Group: "generic", Since: "7.0.0", Complexity: sortCost,
		Categories: []string{"set", "sortedset", "list", "dangerous"},
		Summary:    "Sorts the elements of a list, a set or a sorted set.",
		Keys: []KeySpec{
			{Flags: []string{"RO", "access"}, BeginIndex: 1, Step: 1},
			{Flags: []string{"RO", "access"}, Notes: sortByNote},
		},
		Args: sortArgs(),
	},
}

// firstKey finds the key of a command whose only one is its first argument.
func firstKey([][]byte) ([]int, error) { return []int{1}, nil }
