/** Coverage as a table: a row for each folder of TypeScript and for each file of the addon. */

export interface Covered {
  readonly file: string
  readonly lines: number
  readonly missedLines: readonly number[]
  readonly branches: number
  /** The line of each branch that was never taken. */
  readonly missedBranches: readonly number[]
}

export function table(files: readonly Covered[]): string {
  const groups = Map.groupBy(files, ({ file }) => groupOf(file))
  const rows = [...groups].sort(([a], [b]) => a.localeCompare(b))
  const native = rows.filter(([name]) => name.startsWith('native/'))
  const own = rows.filter(([name]) => !name.startsWith('native/'))
  const all = (some: typeof rows) => some.flatMap(([, found]) => found)
  const lines = [
    ...[...own, ['TypeScript', all(own)] as const].map(([name, found]) => row(name, found)),
    ...[...native, ['addon', all(native)] as const].map(([name, found]) => row(name, found)),
  ]
  return align([['', 'files', 'lines', 'of', 'branches', 'of'], ...lines])
}

/** What was not executed in files whose path begins so. */
export function missing(files: readonly Covered[], path: string): string {
  const chosen = files.filter(({ file }) => file.startsWith(path)).sort((a, b) => a.file.localeCompare(b.file))
  return chosen
    .filter(({ missedLines, missedBranches }) => missedLines.length + missedBranches.length > 0)
    .map(({ file, missedLines, missedBranches }) => {
      const lines = missedLines.length > 0 ? ` lines ${ranges(missedLines)}` : ''
      const branches = missedBranches.length > 0 ? ` branches at ${ranges(missedBranches)}` : ''
      return `${file}:${lines}${branches}`
    })
    .join('\n')
}

/** `proxy/dataplane/native`, at most three names deep; files of the addon are alone. */
function groupOf(file: string): string {
  return file.startsWith('native/') ? file : file.split('/').slice(0, -1).slice(0, 3).join('/')
}

function row(name: string, files: readonly Covered[]): string[] {
  const sum = (of: (file: Covered) => number) => files.reduce((total, file) => total + of(file), 0)
  const share = (missed: number, total: number) => (total === 0 ? '-' : `${(100 * (1 - missed / total)).toFixed(1)} %`)
  const [lines, branches] = [sum(file => file.lines), sum(file => file.branches)]
  return [
    name,
    `${files.length}`,
    share(
      sum(file => file.missedLines.length),
      lines,
    ),
    `${lines}`,
    share(
      sum(file => file.missedBranches.length),
      branches,
    ),
    `${branches}`,
  ]
}

function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map(line => line[i]?.length ?? 0))) ?? []
  const cell = (text: string, i: number) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))
  return rows.map(line => line.map(cell).join('  ')).join('\n')
}

/** `3-5, 9` */
function ranges(numbers: readonly number[]): string {
  const found: [number, number][] = []
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = found.at(-1)
    if (last && number <= last[1] + 1) last[1] = number
    else found.push([number, number])
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ')
}
