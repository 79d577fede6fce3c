/** Reads the configuration file, and reports everything that is wrong with it at once. */
import { isUtf8 } from 'node:buffer'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { whyUnreadable } from '../model/error.ts'
import { readRegularFile } from '../model/text/regular-file.ts'
import { check } from './checks.ts'
import { deprecations } from './deprecations.ts'
import { ConfigError, type ConfigFault } from './error.ts'
import type { Env } from './expand.ts'
import { type Path, parseValidFields, pathText } from './fields.ts'
import type { Resolve } from './kinds.ts'
import { type Config, schema } from './schema.ts'
import { readTree, type TreeFault } from './tree.ts'

export interface Loaded {
  readonly config: Config
  /** Absolute. */
  readonly file: string
  /** What works but is probably a mistake; logged at start. */
  readonly warnings: readonly ConfigFault[]
  /** `conf/starlane.yaml:14`: the line of a path, or of the nearest enclosing value that is in the file. */
  placeOf(path: Path): string
}

/** Rejects with {@link ConfigError}. */
export async function loadConfig(file: string, env: Env = process.env): Promise<Loaded> {
  return parseConfig(await read(file), file, env)
}

/** Throws {@link ConfigError}. `file` appears in messages; relative paths are resolved against its folder. */
export function parseConfig(text: string, file: string, env: Env = process.env): Loaded {
  const tree = readTree(text, env)
  const faults: TreeFault[] = [...tree.faults]
  const warnings: TreeFault[] = []
  if (tree.root === undefined) throw failure(file, faults)

  // A value that could not be read is already reported; do not also report its field as missing.
  const unread = new Set(faults.map(fault => pathText(fault.path)))
  const fields = schema(resolver(file, env))
  const draft = parseValidFields(fields, tree.root, [], ({ path, message }) => {
    if (!unread.has(pathText(path))) faults.push({ code: 'CONF_FIELD', line: tree.lineOf(path), path, message })
  })
  for (const { level, ...found } of check(draft, tree.root, tree.has)) {
    const list = level === 'fault' ? faults : warnings
    list.push({ ...found, line: tree.lineOf(found.path) })
  }
  for (const { path, message } of deprecations(fields, tree.root))
    warnings.push({ code: 'CONF_FIELD', path, message, line: tree.lineOf(path) })
  if (faults.length > 0) throw failure(file, faults)
  return {
    config: draft as Config,
    file: resolve(file),
    warnings: placed(file, warnings),
    placeOf: path => `${file}:${tree.lineOf(path)}`,
  }
}

/** The size limit of a ConfigMap. */
const maxBytes = 1024 * 1024

async function read(file: string): Promise<string> {
  const bytes = await readBytes(file)
  if (bytes.length > maxBytes) throw unusable(file, 'is larger than 1 MiB, too large for a configuration')
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes)
  throw unusable(`${file}:${lineOfBadByte(bytes)}`, 'is not UTF-8; save the file as UTF-8')
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readRegularFile(file, maxBytes + 1)
  } catch (error) {
    throw unusable(file, whyUnreadable(error), error)
  }
}

/** No multi-byte character contains a newline byte, so each line can be checked by itself. */
function lineOfBadByte(bytes: Buffer): number {
  let line = 1
  for (let start = 0; ; line++) {
    const end = bytes.indexOf('\n', start)
    if (end === -1 || !isUtf8(bytes.subarray(start, end))) return line
    start = end + 1
  }
}

function resolver(file: string, env: Env): Resolve {
  const folder = dirname(resolve(file))
  return path => (path.startsWith('~/') ? join(home(env), path.slice(2)) : resolve(folder, path))
}

function home(env: Env): string {
  try {
    return resolve(env.HOME || homedir())
  } catch {
    // The user has no entry in /etc/passwd, as in some containers.
    return '/'
  }
}

function unusable(place: string, message: string, cause?: unknown): ConfigError {
  return new ConfigError([{ code: 'CONF_FILE', place, path: '', message }], { cause })
}

/** A file that is not a configuration at all could give thousands. */
const maxFaults = 100

function failure(file: string, faults: readonly TreeFault[]): ConfigError {
  const [first, ...others] = placed(file, faults)
  if (!first) throw new Error('failure() needs at least one fault')
  const left = faults.length - maxFaults
  if (left > 0)
    others.splice(maxFaults - 1, left, { code: first.code, place: file, path: '', message: `has ${left} more faults` })
  return new ConfigError([first, ...others])
}

/** In the order of the file. */
function placed(file: string, found: readonly TreeFault[]): readonly ConfigFault[] {
  const sorted = [...found].sort((a, b) => a.line - b.line)
  return sorted.map(({ code, line, path, message }) => ({
    code,
    place: `${file}:${line}`,
    path: pathText(path),
    message,
  }))
}
