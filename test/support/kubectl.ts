/** The version of kubectl, and skip reasons for tests that need it or a newer one. */
import { spawnSync } from 'node:child_process'

interface Skip {
  readonly skip?: string
}

const { status, stdout } = spawnSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' })
const { minor = '0', gitVersion = '' } = status === 0 ? JSON.parse(stdout).clientVersion : {}

/** Options of a test that calls kubectl. */
export const needsKubectl: Skip = status === 0 ? {} : { skip: 'kubectl is not installed' }

/** Options of a test that reads the Kustomize files of deploy/ with it. */
export const needsKustomize: Skip =
  status !== 0 || Number.parseInt(minor, 10) >= 21
    ? needsKubectl
    : { skip: `the overlays need kubectl 1.21 or newer, and this one is ${gitVersion}` }

/** Whether it is too old for the overlays. */
export const isOldKubectl: boolean = status === 0 && needsKustomize.skip !== undefined
