@echo off
rem Runs benchmark suites and writes their reports: a thin wrapper of `eventbench run`.
rem
rem   scripts\run_benchmarks.bat [--with-load-test] [SUITE] [OPTIONS of `eventbench run`]
rem
rem   SUITE             a suite by name, or a suite file; event-bus if none is given
rem   --with-load-test  the load tests of the agent-stream suite as well (virtual users; some minutes)
rem   --dry-run         show what would be run, and end
rem   --help            this text
rem
rem Reports go to %BENCHMARK_RESULTS% (benchmark-results if it is not set). The program is %EVENTBENCH%, else
rem target\release\eventbench.exe, else the one on PATH, else it is built first. Exit codes are those of `eventbench run`:
rem 0 pass or warnings, 1 a limit failed, 2 usage or plan, 3 environment, 4 no data, 5 the instrument could not be trusted.
setlocal
set "ROOT=%~dp0.."

set "LOAD_TEST=0"
set "DRY_RUN=0"
set "SUITE="
set OPTIONS=
:arguments
if "%~1"=="" goto program
if "%~1"=="--help" goto help
if "%~1"=="-h" goto help
if "%~1"=="--with-load-test" (
  set "LOAD_TEST=1"
  shift
  goto arguments
)
if "%~1"=="--dry-run" set "DRY_RUN=1"
rem The first word that is no option names the suite; a word behind an option is its value.
set "WORD=%~1"
if not defined OPTIONS if not defined SUITE if not "%WORD:~0,1%"=="-" (
  set "SUITE=%~1"
  shift
  goto arguments
)
set OPTIONS=%OPTIONS% %1
shift
goto arguments

:program
if not defined SUITE set "SUITE=event-bus"
if not defined BENCHMARK_RESULTS set "BENCHMARK_RESULTS=benchmark-results"
if defined EVENTBENCH (
  set PROGRAM="%EVENTBENCH%"
  goto run
)
if exist "%ROOT%\target\release\eventbench.exe" (
  set PROGRAM="%ROOT%\target\release\eventbench.exe"
  goto run
)
where /q eventbench
if not errorlevel 1 (
  set PROGRAM=eventbench
  goto run
)
set PROGRAM=cargo run --quiet --release --manifest-path "%ROOT%\Cargo.toml" --package eventbench --

:run
if "%DRY_RUN%"=="0" if not exist "%BENCHMARK_RESULTS%" mkdir "%BENCHMARK_RESULTS%"
for %%F in ("%SUITE%") do set "NAME=%%~nF"
%PROGRAM% run "%SUITE%" %OPTIONS% -o "markdown=%BENCHMARK_RESULTS%\%NAME%.md" -o "json=%BENCHMARK_RESULTS%\%NAME%.json" -o "junit=%BENCHMARK_RESULTS%\%NAME%.xml"
set "CODE=%ERRORLEVEL%"
if "%LOAD_TEST%"=="0" goto done
set "NAME=agent-stream-load-test"
%PROGRAM% run agent-stream --only load-test %OPTIONS% -o "markdown=%BENCHMARK_RESULTS%\%NAME%.md" -o "json=%BENCHMARK_RESULTS%\%NAME%.json" -o "junit=%BENCHMARK_RESULTS%\%NAME%.xml"
set "LOAD_CODE=%ERRORLEVEL%"
if "%CODE%"=="0" set "CODE=%LOAD_CODE%"

:done
if "%DRY_RUN%"=="0" echo Reports are in %BENCHMARK_RESULTS% (exit code %CODE%)
exit /b %CODE%

:help
rem The head of this file is its help.
for /f "usebackq skip=1 tokens=1* delims= " %%A in ("%~f0") do (
  if not "%%A"=="rem" exit /b 0
  echo.%%B
)
exit /b 0
