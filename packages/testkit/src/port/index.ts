// The other side of the port, for tests of an adapter alone: what core hands over, and who listens.
export { ORDERS, outgoing } from "./outgoing.ts";
export { DEAF } from "./deaf.ts";
export { SenderJournal } from "./journal.ts";
