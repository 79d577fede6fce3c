/** `npm run test:interop`: builds the helper, or says in one line why the tests with it will be skipped. */
import { buildHelper } from './helper.ts'

const why = buildHelper()
if (why !== undefined) console.log(`the tests with Cilium's packages are skipped: ${why}`)
