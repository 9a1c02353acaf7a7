package command

// The constructors below keep a row's argument list readable: one argument a
// line, modifiers behind it. Types and names are those of COMMAND DOCS.

func arg(name, typ string) Arg { return Arg{Name: name, Type: typ} }

// keyArg is a key named by the row's key specification spec.
func keyArg(name string, spec int) Arg { return Arg{Name: name, Type: "key", KeySpec: spec} }

// tok is a bare word such as NX.
func tok(name, token string) Arg {
	return Arg{Name: name, Type: "pure-token", Token: token}
}

// oneOf is a choice between arguments, block a sequence of them.
func oneOf(name string, args ...Arg) Arg {
	return Arg{Name: name, Type: "oneof", Args: args}
}

func block(name string, args ...Arg) Arg {
	return Arg{Name: name, Type: "block", Args: args}
}

// tok puts a word before the argument; since, show and note set facts about it.
func (a Arg) tok(token string) Arg     { a.Token = token; return a }
func (a Arg) since(version string) Arg { a.Since = version; return a }
func (a Arg) show(display string) Arg  { a.Display = display; return a }

// opt makes the argument optional, many repeatable, each repeatable with its token.
func (a Arg) opt() Arg  { a.Optional = true; return a }
func (a Arg) many() Arg { a.Multiple = true; return a }
func (a Arg) each() Arg { a.Multiple, a.MultipleToken = true, true; return a }
