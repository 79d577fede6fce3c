// The import rule: which folder may import which. `npm run check` runs this file; test/imports.test.ts tests it.
import { globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import ts from 'typescript'

/** Text of each source file by its path from the root of the checkout, with forward slashes. */
export type Sources = ReadonlyMap<string, string>

interface Import {
  readonly from: string
  readonly line: number
  readonly to: string
}

const roots = ['proxy', 'plugins', 'test', 'scripts', 'bench', 'conf']

export function readSources(): Sources {
  const files = globSync(roots.map(root => `${root}/**/*.ts`)).map(file => file.replaceAll('\\', '/'))
  return new Map(files.sort().map(file => [file, readFileSync(file, 'utf8')]))
}

/** Every import that breaks the rule, as `file:line imports what: the rule`. */
export function violations(sources: Sources): string[] {
  const imports = [...sources].flatMap(([file, text]) => importsOf(file, text))
  return [...imports.flatMap(misplaced), ...throughRooms(imports), ...cycles(imports)]
}

function misplaced(each: Import): string[] {
  const rule = ruleFor(each.from)
  return rule.sees(zoneOf(each.to)) ? [] : [`${each.from}:${each.line} imports ${each.to}: ${rule.text}`]
}

interface Rule {
  readonly text: string
  sees(zone: string): boolean
}

// A zone is the unit of the rule: a folder of proxy/, one plugin, or a single file with a rule of its own.
function zoneOf(file: string): string {
  const [root = '', second = '', third] = file.split('/')
  if (file === 'proxy/config/fields.ts') return 'fields'
  if (root === 'plugins') return third === undefined ? 'plugins' : `plugins/${second}`
  if (root === 'proxy') return second.replace(/\.ts$/, '')
  return roots.includes(root) ? root : 'elsewhere'
}

const isPlugin = (zone: string): boolean => zone === 'plugins' || zone.startsWith('plugins/')
const isOutside = (zone: string): boolean => [...roots, 'elsewhere'].includes(zone) || isPlugin(zone)

function ruleFor(file: string): Rule {
  const zone = zoneOf(file)
  if (zone === 'test') return { text: 'test/ sees all', sees: () => true }
  if (isPlugin(zone)) return only('a plugin sees only proxy/plugin.ts and its own folder', zone, 'plugin')
  if (isOutside(zone)) return { text: 'nothing imports test/', sees: to => to !== 'test' }
  switch (zone) {
    case 'model':
      return only('model/ sees only itself', 'model')
    case 'fields':
      return only('config/fields.ts sees only model/', 'model')
    case 'plugin':
      return only('plugin.ts sees only model/ and config/fields.ts', 'model', 'fields')
    case 'chain':
      return only(
        'chain/ sees only model/, config/fields.ts, plugin.ts and itself',
        'model',
        'fields',
        'plugin',
        'chain',
      )
    case 'sources':
    case 'publish':
    case 'writeback':
    case 'tunnel':
      return only(
        `${zone}/ sees only model/, config/fields.ts, clients/ and itself`,
        'model',
        'fields',
        'clients',
        zone,
      )
    case 'cli':
      return only('cli/ sees only runtime, config/, model/ and itself', 'runtime', 'config', 'fields', 'model', 'cli')
    case 'runtime':
      return { text: 'runtime sees all of proxy/ except cli/', sees: to => to !== 'cli' && !isOutside(to) }
    default:
      return only('a folder of proxy/ sees only model/, config/fields.ts and itself', 'model', 'fields', zone)
  }
}

const only = (text: string, ...zones: string[]): Rule => ({ text, sees: to => zones.includes(to) })

/** Type imports count too, since they couple two files as firmly as values do. */
function importsOf(file: string, text: string): Import[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const found: Import[] = []
  visit(source)
  return found

  function visit(node: ts.Node): void {
    const specifier = specifierOf(node)
    if (specifier !== undefined) {
      const to = resolve(file, specifier.text)
      const { line } = source.getLineAndCharacterOfPosition(specifier.getStart(source))
      if (to !== undefined) found.push({ from: file, line: line + 1, to })
    }
    ts.forEachChild(node, visit)
  }
}

function specifierOf(node: ts.Node): ts.StringLiteralLike | undefined {
  let specifier: ts.Node | undefined
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) specifier = node.moduleSpecifier
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) specifier = node.argument.literal
  else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
    specifier = node.arguments[0]
  return specifier !== undefined && ts.isStringLiteralLike(specifier) ? specifier : undefined
}

/** Undefined for an installed package. The package's own name means the public API. */
function resolve(file: string, specifier: string): string | undefined {
  if (specifier === 'starlane') return 'proxy/plugin.ts'
  if (!specifier.startsWith('.')) return undefined
  return posix.join(posix.dirname(file), specifier)
}

/** The rooms of a folder, each with the other rooms that it may see; a room that is not listed sees none. */
const rooms: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'proxy/dns': { message: [], zones: ['message'], forward: ['message'], server: ['message'] },
  'proxy/dataplane': { frontends: [], steering: [], flow: [], streams: ['flow'], native: ['flow'] },
}

/**
 * Imports of a room that lead to a room it may not see. A room may import the files beside the rooms, and sees what those
 * import.
 */
function throughRooms(imports: readonly Import[]): string[] {
  const targets = Map.groupBy(imports, ({ from }) => from)
  return imports.flatMap(each => {
    const { folder, room } = roomOf(each.from)
    const known = rooms[folder]
    if (room === undefined || known === undefined) return []
    const allowed = known[room] ?? []
    const text = `of the rooms of ${folder}/, ${room}/ sees only ${['itself', ...allowed].join(' and ')}`
    const end = [...reached(each.to, folder, targets)].find(file => {
      const other = roomOf(file).room
      return other !== room && other !== undefined && !allowed.includes(other)
    })
    if (end === undefined) return []
    const way = end === each.to ? end : `${each.to}, which leads to ${end}`
    return [`${each.from}:${each.line} imports ${way}: ${text}`]
  })
}

/** The file, and for a file beside the rooms also what it imports from the folder, directly or through other such files. */
function reached(file: string, folder: string, targets: ReadonlyMap<string, readonly Import[]>): Set<string> {
  const files = new Set(file.startsWith(`${folder}/`) ? [file] : [])
  for (const each of files) {
    if (roomOf(each).room !== undefined) continue
    for (const { to } of targets.get(each) ?? []) if (to.startsWith(`${folder}/`)) files.add(to)
  }
  return files
}

/** `proxy/dns` and `zones` of proxy/dns/zones/answer.ts; a file beside the rooms has no room. */
function roomOf(file: string): { folder: string; room: string | undefined } {
  const [root, second, third, fourth] = file.split('/')
  return { folder: `${root}/${second}`, room: fourth === undefined ? undefined : third }
}

function cycles(imports: readonly Import[]): string[] {
  const targets = Map.groupBy(imports, ({ from }) => from)
  const done = new Set<string>()
  const found: string[] = []
  for (const file of targets.keys()) follow(file, [])
  return found

  function follow(file: string, path: readonly Import[]): void {
    if (done.has(file)) return
    for (const next of targets.get(file) ?? []) {
      const steps = [...path, next]
      const start = steps.findIndex(({ from }) => from === next.to)
      if (start === -1) follow(next.to, steps)
      else found.push(cycle(steps.slice(start)))
    }
    done.add(file)
  }
}

function cycle(steps: readonly Import[]): string {
  const [first] = steps
  const ring = [...steps.map(({ from }) => from), first?.from].join(' -> ')
  return `${first?.from}:${first?.line} is in an import cycle: ${ring}`
}

if (import.meta.main) {
  const found = violations(readSources())
  for (const violation of found) console.error(violation)
  process.exitCode = found.length > 0 ? 1 : 0
}
