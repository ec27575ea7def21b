# Of tap's output, what failed: each failed assertion with the tests around it and its diagnosis (40 lines of it at most).
# A CI that keeps only the end of its log then still says what broke.
function depth(line) { match(line, /^ */); return int(RLENGTH / 4) }

{ gsub(/\033\[[0-9;]*m/, "") }

/^ *# Subtest: / {
  at = depth($0)
  name = $0
  sub(/^ *# Subtest: /, "", name)
  names[at] = name
  next
}

# The line that closes a failed test repeats what failed inside it; a diagnosis follows where there is none inside.
/^ *not ok / {
  at = depth($0)
  path = ""
  for (i = 0; i < at; i++) path = path names[i] " > "
  text = $0
  sub(/^ */, "", text)
  print path text
  pending = 1
  left = 0
  next
}

pending && /^ *---$/ { left = 40; pending = 0; next }
{ pending = 0 }
left > 0 && /^ *\.\.\.$/ { left = 0; next }
left > 0 { print "    " $0; left-- }
