export { seededRandom, virtualClock, type VirtualClock } from "./clock.ts";
