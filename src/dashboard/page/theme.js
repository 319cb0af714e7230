// Before the first paint: the theme that was chosen here, if any. A script of its own, since it must not wait for modules.
'use strict';
const chosenTheme = localStorage.getItem('userpipe-theme');
if (chosenTheme === 'light' || chosenTheme === 'dark') document.documentElement.dataset.theme = chosenTheme;
