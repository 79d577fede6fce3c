/** C programs for what Node cannot do, built when a test first asks for them. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/**
 * Path of the program built from a C file, or of the shared object with `shared`; undefined where there is no C compiler. It is
 * removed with the test.
 */
export function program(t: Test, source: string, shared = false): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-program-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'program')
  const { status } = spawnSync(
    process.env.CC ?? 'cc',
    ['-std=gnu11', '-O2', '-pthread', ...(shared ? ['-shared', '-fPIC'] : []), '-o', path, source],
    {
      stdio: 'ignore',
    },
  )
  return status === 0 ? path : undefined
}
