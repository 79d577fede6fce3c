// Node's own binary for the target of a release: npm has it as a package for each platform.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Architecture } from './architecture.ts'

/** Of the version that runs this script, because it writes the data that the binary reads. Returns the file. */
export function nodeBinary(work: string, { node }: Architecture): string {
  if (node === process.arch) return process.execPath
  const name = `node-linux-${node}`
  const version = process.versions.node
  const folder = join(work, `${name}-${version}`)
  const file = join(folder, 'package/bin/node')
  if (existsSync(file)) return file
  mkdirSync(folder, { recursive: true })
  const packed = execFileSync('npm', ['pack', '--silent', `${name}@${version}`], { cwd: folder, encoding: 'utf8' })
  execFileSync('tar', ['-xzf', packed.trim()], { cwd: folder })
  return file
}
