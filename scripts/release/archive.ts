// Packs a folder into a tar whose bytes depend on names and contents alone: one order, one time, one owner, and permissions that differ only
// by who may execute.
import { execFileSync } from 'node:child_process'

/** `output` has the entries of `folder` named in `entries`. */
export function archive(folder: string, entries: readonly string[], made: Date, output: string): void {
  const same = ['--sort=name', '--format=ustar', `--mtime=@${Math.floor(made.getTime() / 1000)}`]
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX']
  execFileSync('tar', ['-C', folder, ...same, ...owner, '-cf', output, ...entries], { stdio: ['ignore', 'ignore', 2] })
}
