/** Which kubectl there is: tests that need it, or a newer one, skip and say so. */
import { spawnSync } from 'node:child_process'

interface Skip {
  readonly skip?: string
}

const { status, stdout } = spawnSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' })
const { minor = '0', gitVersion = '' } = status === 0 ? JSON.parse(stdout).clientVersion : {}

/** For the options of a test that calls kubectl. */
export const needsKubectl: Skip = status === 0 ? {} : { skip: 'kubectl is not installed' }

/** Of one that reads the Kustomize files of deploy/ with it. */
export const needsKustomize: Skip =
  status !== 0 || Number.parseInt(minor, 10) >= 21
    ? needsKubectl
    : { skip: `the overlays need kubectl 1.21 or newer, and this one is ${gitVersion}` }

/** Whether it knows `kubectl kustomize` as it is today. */
export const isOldKubectl: boolean = status === 0 && needsKustomize.skip !== undefined
