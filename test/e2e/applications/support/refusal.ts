/** That a service without any pod refuses connections, which follows the change of its endpoints by a moment. */
import assert from 'node:assert/strict'
import { eventually } from '../../../support/eventually.ts'
import type { Place, Target } from './application.ts'
import { patienceMs } from './processes.ts'

export function untilRefused(place: Place, { host, port }: Target): Promise<void> {
  return eventually(async () => {
    const answer = await place.run(['bash', '-c', `exec 3<>/dev/tcp/${host}/${port}`]).catch(error => error.message)
    assert.match(answer, /Connection refused/)
  }, patienceMs)
}
