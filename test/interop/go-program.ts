/**
 * Programs of `test/interop`, each a folder with a Go program, most of which use another project's own packages. Building one needs Go and takes
 * minutes the first time, so it is kept in `node_modules/.cache`, by the content of its sources.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const cache = fileURLToPath(new URL('../../node_modules/.cache/starlane-interop', import.meta.url))

export interface GoProgram {
  /** Where it is once it is built. */
  readonly path: string
  /** Why the tests with it cannot run; false when they can. */
  readonly missing: string | false
  /** The version of a module that it is built with. */
  versionOf(module: string): string
  /**
   * Returns why it is not built on this machine: without Go, or without its modules. Undefined when it is there. Throws when it has
   * all it needs and does not compile.
   */
  build(): string | undefined
}

export function goProgram(name: string): GoProgram {
  const folder = fileURLToPath(new URL(name, import.meta.url))
  const digest = createHash('sha256')
  for (const source of ['go.mod', 'go.sum', 'main.go']) digest.update(readFileSync(`${folder}/${source}`))
  const path = `${cache}/${name}-${digest.digest('hex').slice(0, 16)}`
  return {
    path,
    missing: existsSync(path)
      ? false
      : `its program is not built: npm run test:interop, which needs Go and access to a module proxy`,
    versionOf: module =>
      new RegExp(`^\\s*${module.replaceAll('.', '\\.')} (v\\S+)`, 'm').exec(
        readFileSync(`${folder}/go.mod`, 'utf8'),
      )?.[1] ?? '',
    build() {
      if (existsSync(path)) return undefined
      try {
        execFileSync('go', ['version'], { stdio: 'ignore' })
      } catch {
        return 'Go is not installed'
      }
      try {
        // Fetches what the packages need, and compiles nothing.
        execFileSync('go', ['list', '-deps', '.'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
      } catch {
        return 'its modules cannot be fetched: see above'
      }
      mkdirSync(cache, { recursive: true })
      const words = ['build', '-trimpath', '-ldflags=-s -w', '-o', path, '.']
      // Static, with Go's own resolver.
      execFileSync('go', words, { cwd: folder, stdio: 'inherit', env: { ...process.env, CGO_ENABLED: '0' } })
      return undefined
    },
  }
}
