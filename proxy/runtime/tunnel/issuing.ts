/** What the commands of `starlane mesh` need of certificates. */

export { addRoots, enrol } from '../../tunnel/enrolment/ask.ts'
export { createAuthority, isDue, issue, request, sign } from '../../tunnel/enrolment/authority.ts'
export { encodeInvitation, invite, isInvitation, removeExpired } from '../../tunnel/enrolment/invitation.ts'
