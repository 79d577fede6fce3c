// Makes the npm package of a release. npm keeps the permissions of the checkout, which the umask of who made it decides, so its archive is
// packed again.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { archive } from './archive.ts'

/** Into the folder `into`, under npm's name for it. */
export function packNpm({ root, work, into, made }: { root: string; work: string; into: string; made: Date }): void {
  const folder = join(work, 'npm')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const packed = execFileSync('npm', ['pack', '--silent', '--json', `--pack-destination=${folder}`], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
    maxBuffer: 1 << 26,
  })
  const file = join(folder, nameOf(packed))
  execFileSync('tar', ['-xzf', file], { cwd: folder })
  const plain = join(folder, 'package.tar')
  archive(folder, ['package'], made, plain)
  writeFileSync(join(into, basename(file)), gzipSync(readFileSync(plain), { level: 9 }))
}

/** npm prints what its scripts print, too, before the list of packages. */
function nameOf(printed: string): string {
  const [, name] = /"filename": "([^"]+)"/.exec(printed) ?? []
  if (name === undefined) throw new Error('npm pack has not said which file it made')
  return name
}
