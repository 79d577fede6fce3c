/** Plain JSON, as status and plugins' `state()` speak it. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
