/** `npm run build:interop`: builds the helper, or says in one line why the tests with it will be skipped. Fails if it does not compile. */
import { buildHelper } from './helper.ts'

try {
  const why = buildHelper()
  if (why !== undefined) console.log(`the tests with Cilium's packages are skipped: ${why}`)
} catch {
  console.error("the program of the tests with Cilium's packages does not compile: see above")
  process.exitCode = 1
}
