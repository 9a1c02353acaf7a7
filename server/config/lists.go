package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBind is Redis's CONFIG_BINDADDR_MAX.
const maxBind = 16

func parseBind(args []string, _ value) (value, error) {
	if len(args) > maxBind {
		return value{}, message("Too many bind addresses specified.")
	}
	if len(args) == 1 && args[0] == "" {
		return value{data: []string{}}, nil
	}
	if len(args) == 0 {
		return value{}, errArgs
	}
	return value{text: strings.Join(args, " "), data: slices.Clone(args)}, nil
}

func parseDir(args []string, _ value) (value, error) {
	if len(args) != 1 {
		return value{}, errArgs
	}
	dir, err := filepath.Abs(args[0])
	return value{text: dir}, err
}

// Redis takes any hz and uses one within these bounds.
const minHZ, maxHZ = 1, 500

func parseHZ(args []string, _ value) (value, error) {
	v, err := number("", "", 0, maxInt, 0).parse(args, value{})
	if err != nil {
		return v, err
	}
	n := min(max(v.num, minHZ), maxHZ)
	return value{text: strconv.FormatInt(n, 10), num: n}, nil
}

// parseSave reads pairs of seconds and changes, or "" for none.
func parseSave(args []string, _ value) (value, error) {
	if len(args) == 1 && args[0] == "" {
		return value{}, nil
	}
	bad := message("Invalid save parameters")
	if len(args) == 0 || len(args)%2 != 0 {
		return value{}, bad
	}
	for i, a := range args {
		n, err := strconv.ParseInt(a, 10, 64)
		if err != nil || n < int64(1-i%2) {
			return value{}, bad
		}
	}
	return value{text: strings.Join(args, " ")}, nil
}

func parseShutdown(args []string, _ value) (value, error) {
	words := []string{"default", "save", "nosave", "now", "force"}
	var set [5]bool
	for _, a := range args {
		i := slices.Index(words, strings.ToLower(a))
		if i < 0 {
			return value{}, errors.New("argument(s) must be one of the following: " + strings.Join(words, ", "))
		}
		set[i] = true
	}
	var out []string
	for i, w := range words[1:] {
		if set[i+1] {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		out = words[:1]
	}
	return value{text: strings.Join(out, " ")}, nil
}

func parsePercentiles(args []string, _ value) (value, error) {
	if len(args) == 1 && args[0] == "" {
		return value{data: []float64{}}, nil
	}
	var texts []string
	var ps []float64
	for _, a := range args {
		p, err := strconv.ParseFloat(a, 64)
		if err != nil || p != p {
			return value{}, message("Invalid latency-tracking-info-percentiles parameters")
		}
		if p < 0 || p > 100 {
			return value{}, errors.New("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
		}
		ps = append(ps, p)
		texts = append(texts, strconv.FormatFloat(p, 'f', -1, 64))
	}
	return value{text: strings.Join(texts, " "), data: ps}, nil
}

// Redis's event classes, in the order in which CONFIG GET prints them.
const (
	notifyClasses = "g$lshzxetdn"
	notifyOthers  = "KEm"
)

func parseNotify(args []string, _ value) (value, error) {
	if len(args) != 1 {
		return value{}, errArgs
	}
	set := map[rune]bool{}
	for _, c := range args[0] {
		switch {
		case c == 'A':
			for _, k := range notifyClasses[:len(notifyClasses)-1] {
				set[k] = true
			}
		case strings.ContainsRune(notifyClasses+notifyOthers, c):
			set[c] = true
		default:
			return value{}, message("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
		}
	}
	return value{text: notifyText(set)}, nil
}

func notifyText(set map[rune]bool) string {
	var b strings.Builder
	classes := ""
	complete := true
	for _, c := range notifyClasses {
		if set[c] {
			classes += string(c)
		} else if c != 'n' {
			complete = false
		}
	}
	if complete {
		classes = "A"
		if set['n'] {
			classes += "n"
		}
	}
	b.WriteString(classes)
	for _, c := range notifyOthers {
		if set[c] {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func parseOOMValues(args []string, _ value) (value, error) {
	if len(args) != 3 {
		return value{}, errArgs
	}
	for _, a := range args {
		if n, err := strconv.Atoi(a); err != nil || n < -2000 || n > 2000 {
			return value{}, message("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
		}
	}
	return value{text: strings.Join(args, " ")}, nil
}

// OutputLimit bounds the replies that wait for one client.
type OutputLimit struct {
	Hard, Soft int64 // bytes, 0 for no limit
	// SoftFor is how long Soft may be exceeded.
	SoftFor time.Duration
}

// Client classes, the index into output limits.
const (
	ClassNormal = iota
	ClassReplica
	ClassPubSub
)

var classNames = []string{"normal", "slave", "pubsub"}

// parseOutputLimits reads "class hard soft seconds" one or more times; classes that are not named keep their limits.
func parseOutputLimits(args []string, old value) (value, error) {
	if len(args) == 1 && args[0] == "" {
		return old, nil
	}
	if len(args) == 0 || len(args)%4 != 0 {
		return value{}, message("Wrong number of arguments in buffer limit configuration.")
	}
	limits, _ := old.data.([3]OutputLimit)
	for i := 0; i < len(args); i += 4 {
		name := strings.ToLower(args[i])
		if name == "replica" {
			name = "slave"
		}
		class := slices.Index(classNames, name)
		if class < 0 {
			return value{}, message("Invalid client class specified in buffer limit configuration.")
		}
		hard, ok1 := parseSize(args[i+1])
		soft, ok2 := parseSize(args[i+2])
		sec, err := strconv.ParseInt(args[i+3], 10, 32)
		if !ok1 || !ok2 || hard > maxLong || soft > maxLong || err != nil || sec < 0 {
			return value{}, message("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
		}
		limits[class] = OutputLimit{int64(hard), int64(soft), time.Duration(sec) * time.Second}
	}
	var words []string
	for i, l := range limits {
		words = append(words, classNames[i], strconv.FormatInt(l.Hard, 10), strconv.FormatInt(l.Soft, 10), strconv.Itoa(int(l.SoftFor.Seconds())))
	}
	return value{text: strings.Join(words, " "), data: limits}, nil
}
